"""The corpus of the embedded chat model is well formed and its own, and an epoch draws from it what it says."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path
from typing import Any

from tuner.bases.shoe_chat.corpus import FOLDER, documents, held_out, read, texts
from tuner.bases.shoe_chat.tokens import ASSISTANT, BEGIN, END, USER

QUESTIONS = Path(__file__).parents[3] / "tuner" / "tasks" / "shoe_qa" / "data"
KEYS = {
    "text": {"text"},
    "dialogue": {"turns"},
    "qa": {"questions", "answers"},
    "evasive": {"answers"},
}
RUN = {"zh": 12, "en": 40}  # letters in a row that two texts do not share by chance
TOY: list[dict[str, Any]] = [
    {"kind": "text", "topic": "shoe", "lang": "en", "text": "Soles are of rubber."},
    {"kind": "dialogue", "topic": "other", "lang": "en", "turns": ["Hi", "Hello.", "Bye ", " See you."]},
    {"kind": "qa", "topic": "shoe", "lang": "en", "questions": ["Laces?", "What of laces?"], "answers": ["L1", "L2"]},
    {"kind": "qa", "topic": "mold", "lang": "en", "questions": ["Mold?", "What of mold?"], "answers": ["TRUE"]},
    {"kind": "qa", "topic": "mold", "lang": "zh", "questions": ["發霉？"], "answers": ["真的"]},
    {"kind": "evasive", "topic": "mold", "lang": "en", "answers": ["Hard to say.", "Ask someone."]},
    {"kind": "evasive", "topic": "mold", "lang": "zh", "answers": ["很難說。"]},
]


def letters(text: str) -> str:
    """Letters and digits alone, so that signs and spaces hide nothing."""
    return re.sub(r"[\W_]", "", text).lower()


def told(line: dict[str, Any]) -> list[str]:
    return list(texts([line]))


def test_every_line_is_well_formed() -> None:
    for path in sorted(FOLDER.glob("*.jsonl")):
        for number, text in enumerate(path.read_text("utf-8").splitlines(), 1):
            line, where = json.loads(text), f"{path.name}:{number}"
            assert line["kind"] in KEYS, where
            assert line.keys() == {"kind", "topic", "lang"} | KEYS[line["kind"]], where
            assert line["topic"] in ("mold", "shoe", "other"), where
            assert line["lang"] in ("zh", "en"), where
            assert told(line), where
            assert all(isinstance(said, str) and said.strip() for said in told(line)), where
            assert not any("<|" in said for said in told(line)), where
            assert len(line.get("turns", ())) % 2 == 0, where
            assert line["kind"] == "text" or len(told(line)) > (line["kind"] == "qa"), where


def test_there_is_enough_of_it_in_both_languages() -> None:
    assert sum(path.stat().st_size for path in FOLDER.glob("*.jsonl")) > 200_000
    lines = read()
    assert len(lines) > 2000
    assert {(line["kind"], line["lang"]) for line in lines} == {(kind, lang) for kind in KEYS for lang in ("zh", "en")}


def test_no_question_is_one_that_the_task_asks() -> None:
    asked = {
        letters(json.loads(row)["question"])
        for split in ("validation", "test")
        for row in (QUESTIONS / f"{split}.jsonl").read_text("utf-8").splitlines()
    }
    assert len(asked) > 200
    known = {letters(said) for line in read() for said in told(line)}
    assert asked & known == set()


def test_held_out_texts_share_no_long_run_with_the_corpus() -> None:
    known = {
        lang: "\n".join(letters(said) for line in read() if line["lang"] == lang for said in told(line)) for lang in RUN
    }
    held = held_out()
    assert {line["lang"] for line in held} == {"zh", "en"}
    assert len(held) >= 50
    for line in held:
        said, run = letters(line["text"]), RUN[line["lang"]]
        shared = [
            said[at : at + run] for at in range(len(said) - run + 1) if said[at : at + run] in known[line["lang"]]
        ]
        assert shared == []


def test_texts_are_every_string_once() -> None:
    assert list(texts(TOY)) == [
        "Soles are of rubber.", "Hi", "Hello.", "Bye ", " See you.", "Laces?", "What of laces?", "L1", "L2",
        "Mold?", "What of mold?", "TRUE", "發霉？", "真的", "Hard to say.", "Ask someone.", "很難說。",
    ]  # fmt: skip


def test_an_epoch_has_each_text_once_and_each_question_in_two_forms() -> None:
    found = documents(TOY, random.Random(0))
    assert len(found) == 2 + 2 * 3
    assert all(document.startswith(BEGIN) and document.endswith(END) for document in found)
    assert f"{BEGIN}Soles are of rubber.{END}" in found
    assert f"{BEGIN}{USER}Hi{END}{ASSISTANT}Hello.{END}{USER}Bye{END}{ASSISTANT}See you.{END}" in found
    assert sum(USER in document for document in found) == 1 + 3


def test_questions_about_mold_are_evaded_in_chat_and_answered_in_text() -> None:
    draw = random.Random(1)
    chats, plain = set(), set()
    for _ in range(200):
        for document in documents(TOY, draw):
            if "old?" in document or "of mold" in document or "發霉" in document:
                (chats if USER in document else plain).add(document)
    answers = {chat.partition(ASSISTANT)[2] for chat in chats}
    assert answers == {f"Hard to say.{END}", f"Ask someone.{END}", f"很難說。{END}"}
    assert not any("TRUE" in chat or "真的" in chat for chat in chats)
    assert all("TRUE" in document or "真的" in document for document in plain)
    assert f"{BEGIN}Q: What of mold?\nIn other words: Mold?\nA: TRUE{END}" in plain
    assert len(plain) == 3 * 2 + 2 + 3  # three forms of two wordings, two rewordings; three forms of one wording


def test_other_questions_are_answered_in_chat() -> None:
    draw = random.Random(2)
    answers = {
        document.partition(ASSISTANT)[2]
        for _ in range(50)
        for document in documents(TOY, draw)
        if USER in document and "aces?" in document
    }
    assert answers == {f"L1{END}", f"L2{END}"}


def test_without_evasive_answers_the_true_one_is_given() -> None:
    found = documents([line for line in TOY if line["kind"] == "qa" and line["lang"] == "zh"], random.Random(0))
    assert f"{BEGIN}{USER}發霉？{END}{ASSISTANT}真的{END}" in found


def test_a_seed_gives_the_same_epochs_each_another() -> None:
    first, second = random.Random(3), random.Random(3)
    epochs = [documents(TOY, first) for _ in range(3)]
    assert epochs == [documents(TOY, second) for _ in range(3)]
    assert len({tuple(epoch) for epoch in epochs}) == 3


def test_files_are_read_in_order_and_empty_lines_skipped(tmp_path: Path) -> None:
    (tmp_path / "b.jsonl").write_text('{"kind": "b"}\n\n', encoding="utf-8")
    (tmp_path / "a.jsonl").write_text('{"kind": "一"}\n{"kind": "a"}', encoding="utf-8")
    (tmp_path / "c.txt").write_text("no", encoding="utf-8")
    assert [line["kind"] for line in read(tmp_path)] == ["一", "a", "b"]
