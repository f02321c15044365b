"""Where values lie in a range on its own scale, logarithmic or not, and ranges that are wider or narrower.

Knows the rules of each hyperparameter (`config_rules`), nothing of trials.
"""

from __future__ import annotations

import math

from tuner.config_rules import space_problems
from tuner.config_space import FloatRange, IntRange

Range = IntRange | FloatRange


def end_share(entry: Range, edge: float) -> float:
    """The share of a range that its outer `edge` is; one value of a few may be more than that."""
    return max(edge, entry.step / (entry.high - entry.low + entry.step)) if isinstance(entry, IntRange) else edge


def beyond(name: str, entry: Range, side: int) -> float | None:
    """Half the range's span beyond its end, or less where the hyperparameter's own domain ends before; None where
    nothing lies beyond. Of a task's own hyperparameter only this is known: what was positive stays positive."""
    end = entry.high if side > 0 else entry.low
    for step in (1 / 2, 1 / 4, 1 / 8, 1 / 16):
        value = value_at(entry, 1 + step if side > 0 else -step)
        if isinstance(entry, IntRange):
            steps = (value - end) / entry.step
            value = end + entry.step * (math.ceil(steps) if side > 0 else math.floor(steps))
        else:
            value = _rounded(value, up=side > 0)
        wider = entry.model_copy(update={"high" if side > 0 else "low": value, "when": None})
        if not (value <= 0 < entry.low) and not list(space_problems({name: wider}, [name])):
            return value
    return None


def within(entry: Range, low: float, high: float) -> Range:
    """The part of a range between two places on its own scale: whole steps, or three digits rounded outwards."""
    values = value_at(entry, max(low, 0.0)), value_at(entry, min(high, 1.0))
    if isinstance(entry, IntRange):
        steps = [round((value - entry.low) / entry.step) for value in values]
        ends: tuple[float, float] = entry.low + steps[0] * entry.step, entry.low + steps[1] * entry.step
    else:
        ends = max(entry.low, _rounded(values[0], up=False)), min(entry.high, _rounded(values[1], up=True))
    return entry.model_copy(update={"low": ends[0], "high": ends[1]})


def _rounded(value: float, up: bool) -> float:
    """Three digits."""
    if value == 0:
        return 0.0
    scale = 10.0 ** (math.floor(math.log10(abs(value))) - 2)
    # what has three digits already is not moved by its own rounding error
    digits = math.ceil(value / scale - 1e-9) if up else math.floor(value / scale + 1e-9)
    return float(f"{digits * scale:.3g}")


def place(entry: Range, value: float) -> float:
    """Where a value lies in a range on its own scale: 0 at the low end, 1 at the highest value that can be drawn."""
    if entry.log:
        return math.log(value / entry.low) / math.log(entry.high / entry.low)
    return (value - entry.low) / (_highest(entry) - entry.low)


def value_at(entry: Range, at: float) -> float:
    """The value at a place, the inverse of `place`."""
    if entry.log:
        return float(entry.low * (entry.high / entry.low) ** at)
    return entry.low + at * (_highest(entry) - entry.low)


def _highest(entry: Range) -> float:
    """The highest value that can be drawn: the high end may be no whole number of steps from the low one."""
    if isinstance(entry, IntRange):
        return entry.low + (entry.high - entry.low) // entry.step * entry.step
    return entry.high
