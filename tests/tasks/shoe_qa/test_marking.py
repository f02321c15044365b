"""Every answer gets its marks and measures from its own row, reference and stumbles."""

from __future__ import annotations

import pytest
import torch

from tests.tasks.shoe_qa import toy
from tuner.tasks.shoe_qa.marking import Marking
from tuner.tasks.shoe_qa.overlap import NAMES, overlaps
from tuner.tasks.shoe_qa.rubric import MARKS, completeness, key_data, readability, semantic
from tuner.tasks.shoe_qa.semantic import Semantics

ROWS = [
    toy.make_row("40%的鞋櫃會發霉嗎？", "濕度低於60%就不會。", ("60%",)),
    toy.make_row("發霉的皮鞋怎麼辦？", "用酒精擦，再放在通風處晾乾。", ("酒精", "通風")),
]


@pytest.fixture
def marking() -> Marking:
    return Marking(torch.device("cpu"), torch.float32, encoder=False)


def test_each_answer_is_marked_by_its_row(marking: Marking) -> None:
    answers = ["40%不會，低於60%就不會。", "用酒精擦"]
    stumbles = [0.0, 0.2]
    found = marking.mark(ROWS, answers, stumbles)
    semantics = Semantics(torch.device("cpu"), torch.float32, encoder=False)
    for at, (row, answer) in enumerate(zip(ROWS, answers, strict=True)):
        assert tuple(found[at]) == (*MARKS, *NAMES)
        (alike,) = semantics.alike([answer], [row.answer])
        assert found[at] == {
            "completeness": completeness(answer, row.answer),
            "key_data": key_data(answer, row.answer, row.key_facts, row.question),
            "semantic": semantic(answer, row.answer, alike, row.question),
            "readability": readability(answer, row.answer, stumbles[at]),
            **overlaps([answer], [row.answer])[0],
        }
    assert [each["key_data"] for each in found] == [10.0, 5.0], "the question's own number contradicts nothing"


def test_the_references_and_nothing(marking: Marking) -> None:
    best = marking.mark(ROWS, [row.answer for row in ROWS], [0.0, 0.0])
    worst = marking.mark(ROWS, ["", " "], [0.0, 0.0])
    for name in MARKS:
        assert [marks[name] for marks in best] == pytest.approx([10, 10])
    assert [set(marks.values()) for marks in worst] == [{0.0}, {0.0}]
