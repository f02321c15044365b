"""Before and after: what a study's winner does better, or worse, than the base alone, metric by metric.

Knows which way a metric is better by its name alone, and nothing of how it was measured.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

from tuner.report.schema import BeforeAfterPart
from tuner.score_benchmark import TOTAL_LOSS, Benchmark, judge_item
from tuner.store.files import finite
from tuner.store.outputs import Outputs

Better = Literal["higher", "lower", ""]

_LOWER = ("_loss", "_seconds", "_runtime", "perplexity", "_model_preparation_time")
_NEITHER = ("_characters", "_count", "_length", "_tokens", "_words")  # how much was said, not how well


def before_after(outputs: Outputs | None, benchmark: Benchmark) -> tuple[BeforeAfterPart, ...]:
    """Means of every metric over those outputs where base and adapter both have it: the benchmark's measures in their
    order, of which more is better whatever their names, then the total loss, then other metrics by name. Empty where
    the base was not measured."""
    pairs: dict[str, list[tuple[float, float]]] = {}
    for item in outputs.items if outputs is not None else ():
        before, after = _with_loss(item.base_metrics, benchmark), _with_loss(item.metrics, benchmark)
        for name in before.keys() & after.keys():
            pairs.setdefault(name, []).append((before[name], after[name]))
    titles = {each.metric: each.title for each in benchmark.measures}
    listed = [name for name in (*titles, TOTAL_LOSS) if name in pairs]
    return tuple(
        _part(
            name,
            titles.get(name, name.replace("_", " ")),
            pairs[name],
            "higher" if name in titles else better(name),
        )
        for name in (*listed, *sorted(pairs.keys() - set(listed)))
    )


def better(metric: str) -> Better:
    """Which way a metric is better; "" where neither is."""
    if metric.endswith(_NEITHER):
        return ""
    return "lower" if metric == "loss" or metric.endswith(_LOWER) else "higher"


def _with_loss(metrics: Mapping[str, float], benchmark: Benchmark) -> dict[str, float]:
    """The metrics that were measured, and the total loss where it is known."""
    loss = judge_item("", metrics, benchmark).total_loss
    found = {**metrics, TOTAL_LOSS: loss} if math.isfinite(loss) else metrics
    return {name: value for name, value in found.items() if math.isfinite(value)}


def _part(metric: str, title: str, pairs: list[tuple[float, float]], way: Better) -> BeforeAfterPart:
    # divided first: a sum of large numbers may be none
    before, after = (math.fsum(value / len(pairs) for value in side) for side in zip(*pairs, strict=True))
    return BeforeAfterPart(
        metric=metric,
        title=title,
        before=before,
        after=after,
        change_percent=finite((after - before) / abs(before) * 100) if before else None,
        better=way,
        is_better=None if not way or after == before else (after > before) == (way == "higher"),
    )
