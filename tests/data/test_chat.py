"""From a config to the splits of a chat task: formats, renamed columns, cuts that keep conversations whole."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuner.config import DataConfig
from tuner.data.chat import ChatRow, ChatSplits, Turn, load_chats
from tuner.data.chat_row import sameness
from tuner.errors import DataError


def save(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def talk(*texts: str) -> list[dict[str, str]]:
    return [{"from": "gpt" if n % 2 else "human", "value": text} for n, text in enumerate(texts)]


def everything(splits: ChatSplits) -> list[ChatRow]:
    return [row for rows in splits.named().values() for row in rows]


def pairs(count: int, start: int = 0) -> list[dict[str, Any]]:
    return [{"question": f"Question {n}?", "answer": f"Answer {n}."} for n in range(start, start + count)]


def test_splits_of_one_source_may_have_different_formats(tmp_path: Path) -> None:
    save(tmp_path / "train.jsonl", pairs(3))
    alpaca = {
        "instruction": "Add.",
        "input": "1 and 2",
        "output": "3",
        "system": "Brief!",
        "history": [["Hi", "Ho"]],
    }
    (tmp_path / "valid.json").write_text(json.dumps([alpaca]))
    save(tmp_path / "test.jsonl", [{"conversations": talk("Why?", "Damp.", "And then?", "Dry it.")}])
    splits = load_chats(DataConfig(source=str(tmp_path)))
    assert splits.train[0] == ChatRow((Turn("user", "Question 0?"),), "Answer 0.", where="train.jsonl line 1")
    said = (Turn("system", "Brief!"), Turn("user", "Hi"), Turn("assistant", "Ho"), Turn("user", "Add.\n1 and 2"))
    assert splits.validation == (ChatRow(said, "3", where="valid.json row 1"),)
    first, second = splits.test
    assert (first.turns, first.answer, first.where) == ((Turn("user", "Why?"),), "Damp.", "test.jsonl line 1, answer 1")
    said = (*first.turns, Turn("assistant", "Damp."), Turn("user", "And then?"))
    assert (second.turns, second.answer) == (said, "Dry it.")
    assert "valid.json: read 1 rows as alpaca." in splits.notes


def test_columns_are_renamed(tmp_path: Path) -> None:
    source = str(save(tmp_path / "a.jsonl", [{"q": f"Q{n}", "a": n, "topic": "damp"} for n in range(10)]))
    splits = load_chats(DataConfig(source=source, columns={"question": "q", "answer": "a", "category": "topic"}))
    assert {(row.question, row.answer, row.category) for row in everything(splits)} == {
        (f"Q{n}", str(n), "damp") for n in range(10)
    }
    with pytest.raises(DataError, match=r"its columns are 'q', 'a', 'topic'.*\{question: NAME, answer: NAME\}"):
        load_chats(DataConfig(source=source))
    with pytest.raises(DataError, match=r"data\.columns\.question = 'p': the data has no such column"):
        load_chats(DataConfig(source=source, columns={"question": "p", "answer": "a"}))
    with pytest.raises(DataError, match=r"data\.columns\.label = 'a': the task has no such field"):
        load_chats(DataConfig(source=source, columns={"label": "a"}))


def test_a_name_that_one_split_has_leaves_the_others_their_own(tmp_path: Path) -> None:
    train = save(tmp_path / "a.jsonl", [{"q": "Why?", "answer": "So."}])
    test = save(
        tmp_path / "b.jsonl", [{"messages": [{"role": "user", "content": "A"}, {"role": "assistant", "content": "B"}]}]
    )
    splits = load_chats(DataConfig(train=train, validation=train, test=test, columns={"question": "q"}))
    assert (splits.train[0].question, splits.test[0].question) == ("Why?", "A")


def test_mistakes_of_all_files_come_at_once(tmp_path: Path) -> None:
    train = save(tmp_path / "a.jsonl", [{"prompt": "x", "response": "y"}])
    test = save(tmp_path / "b.jsonl", [{"messages": []}])
    with pytest.raises(DataError) as caught:
        load_chats(DataConfig(train=train, validation=tmp_path / "none.csv", test=test, labels={"a": 0}))
    said = str(caught.value)
    assert "data.validation" in said
    assert "data.labels" in said
    assert "columns: {question: prompt, answer: response}" in said
    assert "hold no list of turns where a conversation should be: b.jsonl line 1" in said


def test_embedded_data() -> None:
    own = tuple(ChatRow((Turn("user", f"Q{n}"),), "A", category="ab"[n % 2]) for n in range(20))
    splits = load_chats(DataConfig(train_samples=4), lambda: ChatSplits(own, own[:2], own[2:3], ("Own.",)))
    assert sorted(row.category for row in splits.train) == ["a", "a", "b", "b"]
    assert (splits.validation, splits.test, splits.notes) == (own[:2], own[2:3], ("Own.",))
    with pytest.raises(DataError, match="no data of its own"):
        load_chats(DataConfig())


def test_cuts_are_stratified_by_category(tmp_path: Path) -> None:
    data = [{**row, "category": "rare" if n % 4 == 0 else "usual"} for n, row in enumerate(pairs(200))]
    splits = load_chats(DataConfig(source=str(save(tmp_path / "a.jsonl", data))))
    assert [len(rows) for rows in splits.named().values()] == [140, 30, 30]
    assert sum(row.category == "rare" for row in splits.test) in (7, 8)


word = st.sampled_from(["a", "A ", "b", "c", ""])


@given(st.lists(st.lists(st.tuples(word, word), min_size=1, max_size=3), min_size=1, max_size=30), st.integers(0, 5))
def test_cuts_lose_nothing_and_never_part_what_belongs_together(
    tmp_path_factory: pytest.TempPathFactory, talks: list[list[tuple[str, str]]], seed: int
) -> None:
    rows = [{"conversations": talk(*(text for pair in pairs for text in pair))} for pairs in talks]
    path = save(tmp_path_factory.mktemp("data") / "a.jsonl", rows)
    splits = load_chats(DataConfig(source=str(path), split_seed=seed))
    assert len(everything(splits)) == sum(map(len, talks))
    places = [{row.where.partition(",")[0] for row in rows} for rows in splits.named().values()]
    assert sum(map(len, places)) == len(talks)
    keys = [{key for row in rows for key in sameness(row)} for rows in splits.named().values()]
    assert sum(map(len, keys)) == len(set().union(*keys))


REAL = os.environ.get("TUNER_REALDATA")


@pytest.mark.skipif(not REAL, reason="TUNER_REALDATA does not name a folder with instruct/")
@pytest.mark.parametrize(("language", "count"), [("en", 999), ("zh", 1000)])
def test_alpaca_loads_as_it_is(language: str, count: int) -> None:
    path = Path(f"{REAL}/instruct/alpaca_{language}_demo.json")
    splits = load_chats(DataConfig(source=str(path)))
    rows = everything(splits)
    assert len(rows) == count
    assert sorted(row.answer for row in rows) == sorted(row["output"].strip() for row in json.loads(path.read_bytes()))
    assert len(splits.test) == 150
