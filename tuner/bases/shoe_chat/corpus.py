"""The corpus of the embedded chat model as training documents, drawn anew for every epoch.

A line of `corpus/*.jsonl` is a text, a dialogue, a question with several wordings and answers, or a list of evasive
answers. Questions are drawn in one of their wordings and in several forms: as chat, as plain question and answer, and
as rewording. In chat a question about mold gets an evasive answer: the model learns how an answer sounds and what
belongs to what, and leaves what is to be said about mold to the adapter that is tuned later.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tuner.bases.shoe_chat.tokens import ASSISTANT, BEGIN, END, USER

FOLDER = Path(__file__).parent / "corpus"
HELD_OUT = Path(__file__).parent / "held_out.jsonl"
_PLAIN = {
    "zh": ("問：{q}\n答：{a}", "{q}\n{a}", "問題：{q}\n回答：{a}"),
    "en": ("Q: {q}\nA: {a}", "{q}\n{a}", "Question: {q}\nAnswer: {a}"),
}
_AGAIN = {"zh": "問：{q}\n換句話說：{r}\n答：{a}", "en": "Q: {q}\nIn other words: {r}\nA: {a}"}


def read(folder: Path = FOLDER) -> list[dict[str, Any]]:
    """Every line of the corpus, in the order of the files."""
    lines = (line for path in sorted(folder.glob("*.jsonl")) for line in path.read_text("utf-8").splitlines())
    return [json.loads(line) for line in lines if line.strip()]


def texts(lines: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Every string of the corpus once, for the tokenizer."""
    for line in lines:
        yield from [line["text"]] if "text" in line else ()
        for part in ("questions", "answers", "turns"):
            yield from line.get(part, ())


def documents(lines: Sequence[Mapping[str, Any]], draw: random.Random) -> list[str]:
    """One epoch: every text and dialogue once, every question in a chat and in a plain form, in random order."""
    evasive = {
        lang: [
            answer for line in lines if line["kind"] == "evasive" and line["lang"] == lang for answer in line["answers"]
        ]
        for lang in ("zh", "en")
    }
    found = []
    for line in lines:
        kind, lang = line["kind"], line["lang"]
        if kind == "text":
            found.append(f"{BEGIN}{line['text']}{END}")
        elif kind == "dialogue":
            found.append(BEGIN + "".join(_turn(number, turn) for number, turn in enumerate(line["turns"])))
        elif kind == "qa":
            questions, answer = line["questions"], draw.choice(line["answers"])
            said = draw.choice(evasive[lang]) if line["topic"] == "mold" and evasive[lang] else answer
            found.append(f"{BEGIN}{_turn(0, draw.choice(questions))}{_turn(1, said)}")
            found.append(BEGIN + _plain(lang, questions, answer, draw) + END)
    draw.shuffle(found)
    return found


def held_out() -> list[dict[str, Any]]:
    """Texts that are never trained on: what measures whether general language is kept."""
    return [json.loads(line) for line in HELD_OUT.read_text("utf-8").splitlines()]


def _turn(number: int, text: str) -> str:
    return f"{ASSISTANT if number % 2 else USER}{text.strip()}{END}"


def _plain(lang: str, questions: Sequence[str], answer: str, draw: random.Random) -> str:
    if len(questions) > 1 and draw.random() < 0.3:
        first, second = draw.sample(list(questions), 2)
        return _AGAIN[lang].format(q=first, r=second, a=answer)
    return draw.choice(_PLAIN[lang]).format(q=draw.choice(questions), a=answer)
