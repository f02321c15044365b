"""Where a study stands now, measured in the same way while it runs and when it is over.

Its winner's outputs on held-out rows where there are such; else the winner's own metrics; else those of the best trial
so far. What was not measured is NaN. Knows nothing of how a standing is shown.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from tuner.score import measured
from tuner.score_benchmark import TOTAL_LOSS, Benchmark, ItemGrade, average, judge_item
from tuner.store.outputs import Outputs
from tuner.store.records import StudyRecord, TrialRecord

NOTHING = "nothing yet"


@dataclass(frozen=True)
class Standing:
    """`averages` by the names of the measures, and "total_loss"; `overall` is the continuous score of the winner (mean
    over seeds) or of the best trial so far. `source` says in words what was measured; `items` are the judged outputs,
    empty where the averages come from a trial's metrics."""

    source: str
    averages: Mapping[str, float]
    overall: float
    items: tuple[ItemGrade, ...] = ()


def standing(record: StudyRecord, benchmark: Benchmark, outputs: Outputs | None = None) -> Standing:
    """The standing of a study, whatever its state."""
    winner, best = record.winner, best_trial(record)
    overall = measured(winner.score if winner else best.score if best else None)
    if outputs is not None and outputs.items and winner is not None:
        items = tuple(judge_item(item.name, item.metrics, benchmark) for item in outputs.items)
        count = f"{len(items)} {benchmark.item}{'s' if len(items) != 1 else ''}"
        source = f"{count} of the winner on {outputs.split} rows"
        return Standing(source, average(items, benchmark), overall, items)
    if winner is not None:
        name, metrics = "the winner on validation rows", winner.metrics
    elif best is not None and best.best is not None:
        name, metrics = f"trial {best.number}, the best so far, on validation rows", best.reports[best.best]
    else:
        names = [each.name for each in benchmark.measures]
        return Standing(NOTHING, dict.fromkeys([*names, TOTAL_LOSS], math.nan), overall)
    return Standing(name, average([judge_item(name, metrics, benchmark)], benchmark), overall)


def best_trial(record: StudyRecord) -> TrialRecord | None:
    """The trial with the highest score, the earliest of equals; None before the first report."""
    scored = [trial for trial in record.trials if trial.score is not None]
    return max(scored, key=lambda trial: (trial.score or 0.0, -trial.number), default=None)
