"""ASHA, asynchronous successive halving, on training rows seen (Li et al. 2020, https://arxiv.org/abs/1810.05934).

Rungs lie at `grace * reduction_factor ** k` rows, k = 0, 1, 2... At a report the highest rung that the trial has
reached decides, once: the trial stops if its score is below the (1 - 1/reduction_factor) quantile (linear
interpolation) of the scores recorded at that rung before it, then its score is recorded there. The first to reach a
rung goes on. This is the rule of `ray.tune.schedulers.AsyncHyperBandScheduler` with one bracket, but for three things:
a rung that a report jumped over is left alone (Ray fills it at the trial's next report, with a score reached on more
data); there is no common maximum, because trials differ in epochs and end by themselves; and a score that is not
finite stops the trial at once and is not recorded. Rungs go to JSON and back, so a study that goes on judges new
trials against the old ones.

Knows nothing of Ray, engines or files.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

CONTINUE, STOP = "continue", "stop"


class Asha:
    """The scheduler of one study. `grace` is in training rows, `reduction_factor` > 1; raises ValueError otherwise."""

    def __init__(self, grace: float, reduction_factor: float) -> None:
        if not grace > 0 or not reduction_factor > 1:
            raise ValueError(f"grace = {grace} must be positive and reduction_factor = {reduction_factor} above 1")
        self.grace = float(grace)
        self.reduction_factor = float(reduction_factor)
        self._rungs: dict[int, dict[str, float]] = {}

    def on_report(self, trial_id: str, samples: int, score: float) -> str:
        """Decide after a report at `samples` rows with `score` (higher is better): CONTINUE or STOP."""
        if not math.isfinite(score):
            return STOP
        rung = self.rung_reached(samples)
        if rung is None:
            return CONTINUE
        recorded = self._rungs.setdefault(rung, {})
        if trial_id in recorded:
            return CONTINUE
        cutoff = self.cutoff(rung)
        recorded[trial_id] = score
        return STOP if cutoff is not None and score < cutoff else CONTINUE

    def rung_reached(self, samples: int) -> int | None:
        """Index k of the highest rung at or below `samples` rows; None below the first."""
        if samples < self.grace:
            return None
        rung = 0
        while self.milestone(rung + 1) <= samples:
            rung += 1
        return rung

    def milestone(self, rung: int) -> float:
        """Training rows at which rung `rung` lies."""
        return self.grace * self.reduction_factor**rung

    def cutoff(self, rung: int) -> float | None:
        """The score that a trial must reach at this rung to go on; None while nobody has been there."""
        recorded = self._rungs.get(rung)
        return _quantile(recorded.values(), 1 - 1 / self.reduction_factor) if recorded else None

    def to_json(self) -> dict[str, Any]:
        """The whole state as plain JSON."""
        rungs = {str(rung): dict(recorded) for rung, recorded in sorted(self._rungs.items())}
        return {"grace": self.grace, "reduction_factor": self.reduction_factor, "rungs": rungs}

    @classmethod
    def from_json(cls, state: Mapping[str, Any]) -> Asha:
        """The inverse of `to_json`. Raises KeyError, TypeError or ValueError if `state` is no such state."""
        asha = cls(state["grace"], state["reduction_factor"])
        asha._rungs = {int(rung): dict(recorded) for rung, recorded in state["rungs"].items()}
        return asha


def _quantile(values: Iterable[float], share: float) -> float:
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)
