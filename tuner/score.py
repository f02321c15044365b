"""From metrics to the overall tuning score, in two forms: graded, as people read it; continuous, as a search needs it.

Graded: a metric falls in the band excellent, good, average or poor and scores 1.0, 0.8, 0.6 or 0.4; an edge belongs to
the better band. Continuous: straight lines through these points, so that more is always better and no plateau hides it:

    worst of the range   average|poor   good|average   excellent|good   ideal
           0.3               0.5            0.7             0.9          1.0

The points at the edges are the middles between the grades' scores, and the worst lies as far below poor as the middle
between average and poor lies above; a config may give the grades other scores (`score.grades`).

A metric of which more is better ranges from 0 (preservation, a cosine, from -1) to 1. One of which less is better is
ideal at 0 and has no worst value; beyond its average|poor edge it scores 0.3 + 0.2 * edge / value, which falls for
ever and stays above 0.3. With the default scores the two forms lie everywhere
within 0.1 of each other. Knows nothing of how a metric is measured.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from tuner.config import BandConfig, GradeScores, ScoreConfig
from tuner.config_rules import COMPONENTS

Grade = Literal["excellent", "good", "average", "poor", "none"]
"""A grade in words; "none" of what is not finite."""

GRADES: tuple[Grade, ...] = ("excellent", "good", "average", "poor")
"""Grades, best first."""

DEFAULT_BANDS: Mapping[str, BandConfig] = {
    # MB of adapter per training step
    "efficiency": BandConfig(excellent=0.15, good=0.25, average=0.35, higher_is_better=False),
    "ssim": BandConfig(excellent=0.7, good=0.5, average=0.3),
    "fashion_clip": BandConfig(excellent=0.7, good=0.5, average=0.3),
    "colour": BandConfig(excellent=0.8, good=0.6, average=0.4),
    "total_loss": BandConfig(excellent=0.3, good=0.5, average=0.7, higher_is_better=False),
    "overall": BandConfig(excellent=0.9, good=0.7, average=0.5),
}
"""Bands of metrics that mean the same in every task; a task's and a search space's own go before them."""

_WORST = {"preservation": -1.0}  # of metrics of which more is better; of all others it is 0
_SCORES = GradeScores()
_ROUNDING = 0.01  # how far beyond its range a metric may stray: cosines of bf16 vectors exceed 1 by so much


@dataclass(frozen=True)
class Band:
    """Edges of a metric's grades, with the worst value it can have where more is better."""

    excellent: float
    good: float
    average: float
    higher_is_better: bool = True
    worst: float = 0.0

    @classmethod
    def of(cls, config: BandConfig, metric: str = "") -> Band:
        """The band of a config; `metric` tells the range."""
        worst = _WORST.get(metric, 0.0)
        return cls(config.excellent, config.good, config.average, config.higher_is_better, worst)


@dataclass(frozen=True)
class Score:
    """One configuration's score. Components and `overall` are continuous, the objective; `graded_overall` weighs the
    graded components; `grades` has a word for each component and for "overall". What was NaN is NaN here, and its grade
    is "none"."""

    efficiency: float
    quality: float
    preservation: float
    overall: float
    graded_overall: float
    grades: dict[str, str]


def measured(value: float | None) -> float:
    """A value as it was measured: NaN for None, as JSON writes what was not, and for infinity."""
    return value if value is not None and math.isfinite(value) else math.nan


def grade(value: float, band: Band | BandConfig) -> Grade:
    """The grade in words; "none" for NaN and infinity."""
    if not math.isfinite(value):
        return "none"
    for word, edge in zip(GRADES, (band.excellent, band.good, band.average), strict=False):
        if value >= edge if band.higher_is_better else value <= edge:
            return word
    return "poor"


def graded(value: float, band: Band | BandConfig, scores: GradeScores = _SCORES) -> float:
    """The graded score, by default 1.0, 0.8, 0.6 or 0.4; NaN for NaN and infinity."""
    word = grade(value, band)
    return getattr(scores, word) if word in GRADES else math.nan


def continuous(value: float, band: Band | BandConfig, scores: GradeScores = _SCORES) -> float:
    """The continuous score, by default between 0.3 and 1.0; NaN for NaN and infinity. Raises ValueError for a value
    outside the metric's range, which is a mistake of whoever measured it (a percentage instead of a share)."""
    if not math.isfinite(value):
        return math.nan
    if isinstance(band, BandConfig):
        band = Band.of(band)
    low, high = (band.worst, 1.0) if band.higher_is_better else (0.0, math.inf)
    if not low - _ROUNDING <= value <= high + _ROUNDING:
        raise ValueError(f"a metric is {value:g} and must lie between {low:g} and {high:g}")
    value = min(max(value, low), high)
    best, first, second, third, least = _points(scores)
    if not band.higher_is_better and value > band.average:
        return least + (third - least) * (band.average / value)
    ideal, worst = (1.0, band.worst) if band.higher_is_better else (0.0, band.average)
    points = [(ideal, best), (band.excellent, first), (band.good, second), (band.average, third), (worst, least)]
    for (near, upper), (far, lower) in pairwise(points):
        if value >= far if band.higher_is_better else value <= far:
            # from the far end, so that both pieces that meet at an edge give exactly the same number there
            return lower + (upper - lower) * ((value - far) / (near - far))
    raise AssertionError("the value lies in the range, so one piece holds it")


def _points(scores: GradeScores) -> tuple[float, float, float, float, float]:
    """Continuous scores of the ideal, of the three edges from the best down, and of the worst."""
    e, g, a, p = scores.excellent, scores.good, scores.average, scores.poor
    # rounded, so that the defaults are 0.9, 0.7, 0.5 and 0.3 to the last bit
    middles = [round((upper + lower) / 2, 12) for upper, lower in ((e, g), (g, a), (a, p))]
    return e, middles[0], middles[1], middles[2], max(0.0, round(p - (a - p) / 2, 12))


def overall_score(metrics: Mapping[str, float], config: ScoreConfig, bands: Mapping[str, BandConfig]) -> Score:
    """The score of "efficiency" (MB of adapter per training step), "quality" and "preservation" in `metrics`.

    Bands are the config's own, else those given (the task's), else `DEFAULT_BANDS`. NaN in a component makes it and the
    overall score NaN (unless its weight is 0): no number is made up. Raises ValueError if a metric is missing, has no
    band or lies outside its range."""
    known = {**DEFAULT_BANDS, **bands, **config.bands}
    for name in COMPONENTS:
        if name not in metrics:
            raise ValueError(f"the score needs the metric {name!r}, and there are only {sorted(metrics)}")
        if name not in known:
            raise ValueError(f"the metric {name!r} has no band")
    weights = {name: getattr(config, f"{name}_weight") for name in COMPONENTS}
    used = {name: Band.of(known[name], name) for name in COMPONENTS}
    parts: dict[str, float] = {}
    for name in COMPONENTS:
        try:
            parts[name] = continuous(metrics[name], used[name], config.grades)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error
    counted = [name for name in COMPONENTS if weights[name] > 0]  # 0 * NaN would be NaN
    overall = sum(weights[name] * parts[name] for name in counted)
    graded_overall = sum(weights[name] * graded(metrics[name], used[name], config.grades) for name in counted)
    grades: dict[str, str] = {name: grade(metrics[name], used[name]) for name in COMPONENTS}
    grades["overall"] = grade(overall, Band.of(known["overall"]))
    return Score(parts["efficiency"], parts["quality"], parts["preservation"], overall, graded_overall, grades)


def mean_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """The 95 % interval of a mean by Student's t, which for three seeds is 2.2 times as wide as the normal one. None
    for fewer than two values."""
    if len(values) < 2:
        return None
    from scipy import stats

    half = float(stats.t.ppf(0.975, len(values) - 1)) * statistics.stdev(values) / math.sqrt(len(values))
    return statistics.fmean(values) - half, statistics.fmean(values) + half
