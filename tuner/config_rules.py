"""Rules that tie parts of a study's config together: what each hyperparameter may be, conditions, start points, ASHA.

They run on whatever parts are readable by themselves, so that a mistake in one entry does not hide those in another.
Knows nothing of YAML or of models' layers (a rank above a layer's width is found by the task).
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any

from tuner.config_space import Choice, Constant, Entry, FloatRange, IntRange, contains, describe
from tuner.errors import Problem

REQUIRED_HYPERPARAMETERS = ("rank", "learning_rate", "epochs")
"""Every space names these."""

COMMON_HYPERPARAMETERS: Mapping[str, Any] = {
    "alpha": 16,
    "dropout": 0.0,
    "target_modules": None,  # the attention's query and value of the base
    "batch_size": 8,
    "accumulation": 1,  # micro-batches of batch_size rows in one optimizer step
    "warmup_ratio": 0.0,
    "warmup_steps": 0,  # above 0 it counts instead of warmup_ratio
    "schedule": "constant",
    "restarts": 1,  # cycles of cosine_with_restarts
    "weight_decay": 0.01,
}
"""Every space may name these; what it does not name has this value."""

SCHEDULES = ("constant", "linear", "cosine", "cosine_with_restarts")
COMPONENTS = ("efficiency", "quality", "preservation")
WHOLE, NUMBER, WORDS = "whole", "number", "words"

_Rule = tuple[str, Callable[[Any], bool], str, str]


def _is_number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return isinstance(value, int) or math.isfinite(value)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _are_modules(value: Any) -> bool:
    if value is None:
        return True
    if not isinstance(value, list) or not value or len({str(each) for each in value}) != len(value):
        return False
    return all(isinstance(each, str) and each.strip() for each in value)


# name -> kind, whether a value is allowed, the rule in words, the cure
_DOMAINS: Mapping[str, _Rule] = {
    "rank": (WHOLE, lambda v: _is_whole(v) and v >= 1, "must be a whole number of at least 1", "8 is a good start."),
    "learning_rate": (NUMBER, lambda v: _is_number(v) and v > 0, "must be a finite number above 0", "Try 1e-3."),
    "epochs": (WHOLE, lambda v: _is_whole(v) and v >= 1, "must be a whole number of at least 1", "Try 1 to 4."),
    "alpha": (NUMBER, lambda v: _is_number(v) and v > 0, "must be a number above 0", "16 is a good start."),
    "dropout": (NUMBER, lambda v: _is_number(v) and 0 <= v < 1, "must be at least 0 and below 1", "Try 0.0 or 0.1."),
    "target_modules": (WORDS, _are_modules, "must be a list of different module names", "Write [query, value]."),
    "batch_size": (WHOLE, lambda v: _is_whole(v) and v >= 1, "must be a whole number of at least 1", "Try 8."),
    "accumulation": (WHOLE, lambda v: _is_whole(v) and v >= 1, "must be a whole number of at least 1", "Try 2."),
    "warmup_ratio": (NUMBER, lambda v: _is_number(v) and 0 <= v < 1, "must be at least 0 and below 1", "Try 0.1."),
    "warmup_steps": (WHOLE, lambda v: _is_whole(v) and v >= 0, "must be a whole number of at least 0", "Try 10."),
    "schedule": (WORDS, lambda v: v in SCHEDULES, f"must be one of {', '.join(SCHEDULES)}", "constant is the default."),
    "restarts": (WHOLE, lambda v: _is_whole(v) and v >= 1, "must be a whole number of at least 1", "Try 2."),
    "weight_decay": (NUMBER, lambda v: _is_number(v) and v >= 0, "must be a number of at least 0", "Try 0.01."),
}


def kind_of(hyperparameter: str) -> str:
    """What values a hyperparameter takes: "whole", "number", "words"; "" for a task's own."""
    return _DOMAINS[hyperparameter][0] if hyperparameter in _DOMAINS else ""


def did_you_mean(word: str, known: Iterable[str], prefix: str = "") -> str:
    """A cure for an unknown word: the nearest known one, or all of them."""
    words = list(known)
    near = difflib.get_close_matches(word, words, n=1, cutoff=0.6)
    near = near or [each for each in words if len(word) > 2 and each.startswith(word)]
    if near:
        return f"Did you mean {prefix}{near[0]}?"
    return f"Known: {', '.join(prefix + each for each in words)}."


def space_problems(space: Mapping[str, Entry], order: Collection[str]) -> Iterator[Problem]:
    """What is wrong with entries that are each well-formed. `order` is every name in the space, in its order there."""
    names = list(order)
    for name, entry in space.items():
        yield from _domain_problems(name, entry)
        yield from _condition_problems(name, entry, names, space)
    yield from _warmup_problems(space)


def end_problems(name: str, raw: Any) -> Iterator[Problem]:
    """Ends of a range that cannot be read as a whole, but that hold a number which breaks the hyperparameter's rule."""
    if name not in _DOMAINS or not isinstance(raw, Mapping):
        return
    _, allowed, rule, cure = _DOMAINS[name]
    for end in ("low", "high"):
        told = end == "low" and raw.get("log") is True and _is_whole(raw.get(end)) and raw[end] <= 0
        if not told and _is_whole(raw.get(end)) and not allowed(raw[end]):
            yield Problem(f"space.{name}.{end}", raw[end], rule, cure)


def name_problems(names: Collection[str], own: Collection[str]) -> Iterator[Problem]:
    """Names that no study knows, and required ones that are missing. `own` are the task's own hyperparameters."""
    known = [*REQUIRED_HYPERPARAMETERS, *COMMON_HYPERPARAMETERS, *own]
    for name in names:
        if name not in known:
            yield Problem(f"space.{name}", "...", "is no hyperparameter of this task", did_you_mean(name, known))
    for name in REQUIRED_HYPERPARAMETERS:
        if name not in names:
            yield Problem(f"space.{name}", None, "must be given", f"Add {name} to the space: a value or a range.")


def start_point_problems(
    points: Iterable[Any], space: Mapping[str, Entry], order: Collection[str]
) -> Iterator[Problem]:
    """Start points that name what is not in the space, or a value outside it."""
    for position, point in enumerate(points):
        if not isinstance(point, Mapping):
            continue  # the shape is reported where the models are
        for name, value in point.items():
            where = f"start_points[{position}].{name}"
            if name not in order:
                yield Problem(where, value, "is not in the space", did_you_mean(str(name), order))
            elif name in space and not contains(space[name], value):
                rule = f"lies outside the space, which has {describe(space[name])}"
                yield Problem(where, value, rule, "Widen the space or move the point.")


def grace_problems(grace_epochs: float, epochs: Entry | None) -> Iterator[Problem]:
    """A first rung that no trial reaches."""
    most = largest(epochs)
    if most is not None and grace_epochs > most >= 1:
        rule = f"must not be above the most epochs of the space, {most:g}"
        yield Problem("search.asha.grace_epochs", grace_epochs, rule, "Lower it, or set asha: null to stop no trial.")


def band_problems(bands: Collection[str], own: Collection[str]) -> Iterator[Problem]:
    """Bands of what no study grades. `own` are the other metrics that the task grades."""
    known = [*COMPONENTS, "overall", *(name for name in own if name not in COMPONENTS)]
    for name in bands:
        if name not in known:
            yield Problem(f"score.bands.{name}", "...", "is not graded by this task", did_you_mean(name, known))


def largest(entry: Entry | None) -> float | None:
    """The largest number an entry can draw, None if it draws none."""
    if isinstance(entry, IntRange | FloatRange):
        return entry.high
    values = entry.values if isinstance(entry, Choice) else [entry.value] if isinstance(entry, Constant) else []
    return max((value for value in values if _is_number(value)), default=None)


def _domain_problems(name: str, entry: Entry) -> Iterator[Problem]:
    if name not in _DOMAINS:
        return
    kind, allowed, rule, cure = _DOMAINS[name]
    where = f"space.{name}"
    if isinstance(entry, IntRange | FloatRange):
        if kind == WORDS:
            yield Problem(f"{where}.type", entry.type, "cannot be a range", f"{where} {rule}. {cure}")
            return
        if kind == WHOLE and isinstance(entry, FloatRange):
            yield Problem(f"{where}.type", "float", f"{name} {rule}", "Write type: int.")
            return
        ends = {"low": entry.low} if entry.low == entry.high else {"low": entry.low, "high": entry.high}
        for end, value in ends.items():
            if not allowed(value):
                yield Problem(f"{where}.{end}", value, rule, cure)
    elif isinstance(entry, Choice):
        for position, value in enumerate(entry.values):
            if not allowed(value):
                yield Problem(f"{where}.values[{position}]", value, rule, cure)
    elif not allowed(entry.value):
        yield Problem(where, entry.value, rule, cure)


def _warmup_problems(space: Mapping[str, Entry]) -> Iterator[Problem]:
    """A warm-up that is given twice."""
    entries = (space.get("warmup_ratio"), space.get("warmup_steps"))
    ratio, steps = (entry.value if isinstance(entry, Constant) else 0 for entry in entries)
    if _is_number(ratio) and _is_number(steps) and ratio > 0 and steps > 0:
        rule = f"cannot stand beside warmup_ratio, which is {ratio}"
        yield Problem("space.warmup_steps", steps, rule, "Keep one of the two.")


def _condition_problems(name: str, entry: Entry, names: list[str], space: Mapping[str, Entry]) -> Iterator[Problem]:
    if isinstance(entry, Constant) or entry.when is None:
        return
    where = f"space.{name}.when"
    if not entry.when:
        yield Problem(where, entry.when, "must name at least one condition", "Write when: {schedule: [linear]}.")
    if name in REQUIRED_HYPERPARAMETERS:
        yield Problem(where, entry.when, f"{name} belongs to every trial and cannot be conditional", "Drop when.")
    for parent, values in entry.when.items():
        if parent == name:
            yield Problem(f"{where}.{parent}", values, "an entry cannot depend on itself", "Name another entry.")
        elif parent not in names:
            cure = did_you_mean(parent, [each for each in names if each != name])
            yield Problem(f"{where}.{parent}", values, "names no entry of the space", cure)
        elif names.index(parent) > names.index(name):
            rule = f"{parent} must stand above {name}, because it is drawn first"
            yield Problem(f"{where}.{parent}", values, rule, f"Move {parent} up.")
        elif parent in space and not any(contains(space[parent], value) for value in values):
            rule = f"can never hold, because {parent} is {describe(space[parent])}"
            yield Problem(f"{where}.{parent}", values, rule, f"Name a value that {parent} can have.")
