"""Checks of a search space against a base that every task of adapters shares. Imports no torch."""

from __future__ import annotations

from typing import Any

from tuner.config import Choice, Constant, Entry, IntRange, StudyConfig
from tuner.errors import Problem


def values_of(entry: Entry | None, default: Any) -> list[Any]:
    """Every value an entry may take, or its ends."""
    if entry is None:
        return [default]
    if isinstance(entry, Constant):
        return [entry.value]
    if isinstance(entry, Choice):
        return list(entry.values)
    return [entry.low, entry.high]


def rank_problems(config: StudyConfig, width: int) -> list[Problem]:
    """Ranks above the width of the base's layers; none where that is 0, unknown."""
    entry = config.space["rank"]
    where = "space.rank.high" if isinstance(entry, IntRange) else "space.rank"
    rule = f"the rank must not be above the layers' width, {width} in this base"
    return [
        Problem(where, value, rule, "4 to 64 is usual; a rank of the full width is a full fine-tune.")
        for value in values_of(entry, None)
        if width and value > width
    ]
