"""Checks of a search space against a base that every task of adapters shares. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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


def target_problems(config: StudyConfig, known: Callable[[str], bool], there: Sequence[str]) -> list[Problem]:
    """Target modules of the space and its start points that the base does not have; `there` are those it has."""
    points = [point["target_modules"] for point in config.start_points if "target_modules" in point]
    named = [*values_of(config.space.get("target_modules"), None), *points]
    targets = [target for each in named for target in ([each] if isinstance(each, str) else each or [])]
    rule = f"the base {config.base_model} has no such module"
    cure = f"It has: {', '.join(there)}."
    return [
        Problem("space.target_modules", target, rule, cure) for target in dict.fromkeys(targets) if not known(target)
    ]


def length_problems(config: StudyConfig, usable: int) -> list[Problem]:
    """Rows longer than the `usable` tokens that the base reads; none where that is 0, unknown."""
    if not usable or config.data.max_length <= usable:
        return []
    rule = f"the base {config.base_model} reads at most {usable} tokens"
    return [Problem("data.max_length", config.data.max_length, rule, f"Use {usable} or less.")]
