"""The overall tuning score of a study's winner with what each component is computed from, in both forms.

Grades and scores are those of `tuner/score.py` by the study's own bands and weights. Before there is a winner the best
trial so far stands in its place.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from tuner.config import ScoreConfig
from tuner.report.schema import LoraTuning
from tuner.report.settings import Settings
from tuner.report.standing import best_trial
from tuner.score import Band, continuous, grade, graded, measured
from tuner.store.files import finite
from tuner.store.records import StudyRecord

_PLACES = {
    "efficiency": "training_efficiency",
    "quality": "generation_quality",
    "preservation": "feature_preservation",
}


def tuning_score(record: StudyRecord, settings: Settings) -> tuple[LoraTuning, list[str]]:
    """The score's part of a report, and sentences on what could not be said."""
    metrics, overall, interval = _measured(record)
    parts: dict[str, Any] = {}
    missing: list[str] = []
    graded_overall = 0.0
    for component, place in _PLACES.items():
        metric = settings.sources[component]
        value = measured(metrics.get(metric))
        band = Band.of(settings.bands[component], component) if component in settings.bands else None
        part: dict[str, Any] = {_name(component, settings): finite(value), "grade": "none"}
        part |= {"score": None, "graded_score": None}
        if band is not None:
            try:
                own = measured(metrics.get(f"score_{component}"))
                score = own if math.isfinite(own) else continuous(value, band, settings.score.grades)
                part |= {"grade": grade(value, band), "score": finite(score)}
                part |= {"graded_score": finite(graded(value, band, settings.score.grades))}
            except ValueError as error:
                missing.append(f"The {component} cannot be scored: {error}.")
        weight = _weight(settings.score, component)
        if weight > 0:
            graded_overall += weight * (math.nan if part["graded_score"] is None else part["graded_score"])
        if not math.isfinite(value) and metrics:
            missing.append(f"The {component} was not measured: no trial reports {metric}.")
        parts[place] = part
    if not metrics:
        missing.append("No trial has reported yet, so there is no score.")
    return (
        LoraTuning(
            **parts,
            overall_tuning_score=finite(overall),
            overall_graded_score=finite(graded_overall),
            overall_grade=grade(overall, settings.bands["overall"]),
            interval=interval,
            weights={component: _weight(settings.score, component) for component in _PLACES},
        ),
        missing,
    )


def _measured(record: StudyRecord) -> tuple[Mapping[str, float], float, tuple[float, float] | None]:
    """Metrics, score and its interval of the winner, else of the best trial's best report."""
    if record.winner is not None:
        ends = record.winner.interval
        known = ends is not None and all(math.isfinite(measured(end)) for end in ends)
        return record.winner.metrics, measured(record.winner.score), ends if known else None
    best = best_trial(record)
    if best is None or best.best is None:
        return {}, math.nan, None
    return best.reports[best.best], best.reports[best.best]["score"], None


def _name(component: str, settings: Settings) -> str:
    """What a component is computed from, as reports call it."""
    if component == "efficiency":
        return "efficiency_ratio"
    metric = settings.sources[component]
    if component == "quality":
        return f"average_{metric}"
    keys = {each.metric: each.key for each in settings.judged_by.measures}
    return keys.get(metric, metric)


def _weight(score: ScoreConfig, component: str) -> float:
    weight: float = getattr(score, f"{component}_weight")
    return weight
