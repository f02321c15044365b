"""What a space may ask of a base: every value it can take is known, and ranks end at the width."""

from __future__ import annotations

from typing import Any

import pytest

from tuner.config import StudyConfig
from tuner.tasks.space_checks import rank_problems, values_of


def config(**space: Any) -> StudyConfig:
    content = {"task": "any", "base_model": "any", "space": {"rank": 4, "learning_rate": 1e-3, "epochs": 1, **space}}
    return StudyConfig.model_validate(content)


@pytest.mark.parametrize(
    ("entry", "values"),
    [
        (4, [4]),
        ({"type": "choice", "values": [2, 8, 4]}, [2, 8, 4]),
        ({"type": "int", "low": 2, "high": 32, "log": True}, [2, 32]),
    ],
)
def test_the_values_of_an_entry(entry: Any, values: list[Any]) -> None:
    assert values_of(config(rank=entry).space["rank"], None) == values


def test_the_ends_of_a_range_and_the_default_of_what_is_not_named() -> None:
    rate = config(learning_rate={"type": "float", "low": 1e-4, "high": 1e-2}).space["learning_rate"]
    assert values_of(rate, None) == [1e-4, 1e-2]
    assert values_of(None, ["query"]) == [["query"]]


@pytest.mark.parametrize(
    ("rank", "wrong"),
    [
        (16, []),
        (17, [("space.rank", 17)]),
        ({"type": "choice", "values": [2, 17, 16, 99]}, [("space.rank", 17), ("space.rank", 99)]),
        ({"type": "int", "low": 2, "high": 17}, [("space.rank.high", 17)]),
        ({"type": "int", "low": 20, "high": 30}, [("space.rank.high", 20), ("space.rank.high", 30)]),
    ],
)
def test_ranks_above_the_width(rank: Any, wrong: list[tuple[str, int]]) -> None:
    found = rank_problems(config(rank=rank), 16)
    assert [(problem.name, problem.value) for problem in found] == wrong
    assert all("16 in this base" in problem.rule for problem in found)


def test_a_width_that_is_not_known_allows_all() -> None:
    assert rank_problems(config(rank=4096), 0) == []
