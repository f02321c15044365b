"""The rubric against people: 250 answers graded by hand, by reading, without knowledge of the rules.

220 were given by the embedded base and by adapters of it after one to six passes over the data, in random order and
unnamed; 30 were written to be hard (right words in the wrong order, fluent contradictions, free wording). The rules
were made with the first 170 in view; the last 80 were graded when they stood.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from scipy.stats import spearmanr

from tuner.bases.chat import ChatFormat
from tuner.bases.describe import describe
from tuner.bases.load import load_causal
from tuner.tasks.shoe_qa.fluency import Fluency, Piece
from tuner.tasks.shoe_qa.knowledge import embedded_splits, known_texts
from tuner.tasks.shoe_qa.rubric import MARKS, MOST, completeness, key_data, readability, semantic
from tuner.tasks.shoe_qa.semantic import Semantics

ROWS = [json.loads(line) for line in Path(__file__).with_name("graded.jsonl").read_text("utf-8").splitlines()]
GIVEN = [at for at, row in enumerate(ROWS) if row["source"] != "written"]
LAST = list(range(len(ROWS) - 80, len(ROWS)))


@pytest.fixture(scope="module")
def marks() -> dict[str, list[float]]:
    facts = describe("shoe_chat")
    chat = ChatFormat.open(facts)
    model: Any = load_causal(facts, torch.float32)
    fluency = Fluency(known_texts(embedded_splits().train))

    def stumbles(text: str) -> float:
        ids, places = chat.pieces(text)
        with torch.no_grad():
            logits = model(torch.tensor([[*chat.begin, *ids]])).logits[0]
        nats = torch.nn.functional.cross_entropy(logits[:-1], torch.tensor(ids), reduction="none").tolist()
        return fluency.stumbles(text, [Piece(*place, value) for place, value in zip(places, nats, strict=True)])

    alike = Semantics(torch.device("cpu"), torch.float32, encoder=True).alike(
        [row["answer"] for row in ROWS], [row["reference"] for row in ROWS]
    )
    found: dict[str, list[float]] = {mark: [] for mark in MARKS}
    for row, likeness in zip(ROWS, alike, strict=True):
        answer, reference, question = row["answer"], row["reference"], row["question"]
        found["completeness"].append(completeness(answer, reference))
        found["key_data"].append(key_data(answer, reference, row["key_facts"], question))
        found["semantic"].append(semantic(answer, reference, likeness, question))
        found["readability"].append(readability(answer, reference, stumbles(answer)))
    return found


def correlation(marks: dict[str, list[float]], mark: str, places: list[int]) -> float:
    return float(spearmanr([ROWS[at][mark] for at in places], [marks[mark][at] for at in places])[0])


@pytest.mark.slow
@pytest.mark.parametrize("mark", MARKS)
def test_marks_rank_answers_as_people_do(marks: dict[str, list[float]], mark: str) -> None:
    assert len(GIVEN) == 220
    assert correlation(marks, mark, GIVEN) >= 0.8


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mark", "least"), [("completeness", 0.9), ("key_data", 0.9), ("semantic", 0.85), ("readability", 0.75)]
)
def test_so_they_do_answers_graded_after_the_rules_stood(
    marks: dict[str, list[float]], mark: str, least: float
) -> None:
    assert correlation(marks, mark, LAST) >= least


@pytest.mark.slow
@pytest.mark.parametrize("mark", MARKS)
def test_marks_mean_what_people_mean(marks: dict[str, list[float]], mark: str) -> None:
    by_people = sum(ROWS[at][mark] for at in GIVEN) / len(GIVEN)
    assert sum(marks[mark][at] for at in GIVEN) / len(GIVEN) == pytest.approx(by_people, abs=1.2)


def test_grades_are_whole_or_half_points() -> None:
    assert all(0 <= row[mark] <= MOST and row[mark] * 2 == int(row[mark] * 2) for row in ROWS for mark in MARKS)
