"""How a study used its machines: of each engine CPU, memory, rows and tokens a second over time, and the study's sums.

Plain values for reports and charts, read from a study's record; what was not measured, as in studies of older versions,
is None. Knows nothing of drawing, and of re-runs only the time they took: the record has no reports of theirs. A trial
that went on on another engine counts for that one alone, as its record names no other.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tuner.report.trials import samples_seen
from tuner.store.records import StudyRecord, TrialRecord


@dataclass(frozen=True)
class Point:
    """One measurement of an engine, `seconds` after the study began. Rows and tokens a second of all its trials
    together, CPU of its process in percent of the cores it may use, memory of its process and on its GPU in MiB. None:
    not measured, for the GPU's memory also where there is no GPU."""

    seconds: float
    samples_per_second: float | None
    tokens_per_second: float | None
    cpu_percent: float | None
    memory_mb: float | None
    device_memory_mb: float | None


@dataclass(frozen=True)
class EnginePerformance:
    """One engine. `name` is "" for trials whose engine is not known; `device` and `dtype` are "" if the record does not
    list the engine. `reports` counts those of its trials; `points` are its measurements, oldest first, one where
    several trials reported at once. Means and peaks are over the points, in their units, None where none has a
    value."""

    name: str
    device: str
    dtype: str
    reports: int
    mean_cpu_percent: float | None
    peak_cpu_percent: float | None
    peak_memory_mb: float | None
    peak_device_memory_mb: float | None
    mean_samples_per_second: float | None
    peak_samples_per_second: float | None
    mean_tokens_per_second: float | None
    peak_tokens_per_second: float | None
    points: tuple[Point, ...]


@dataclass(frozen=True)
class Performance:
    """A study. Rows and tokens are those that the trials of the search had trained on at their last reports, those of
    every pass; `train_seconds` sums their seconds in training steps, which trials trained together each count whole.

    `wall_seconds` is the time from the study's beginning to its end, or to its last report while it runs;
    `search_seconds` that to the end of its last trial, without the re-runs, and what `rows_per_second` divides by. Both
    count the start of the engines, evaluation, and pauses of an interrupted study. None: not known."""

    engines: tuple[EnginePerformance, ...]
    rows: int
    tokens: int | None
    train_seconds: float | None
    wall_seconds: float | None
    search_seconds: float | None
    rows_per_second: float | None


def performance(record: StudyRecord) -> Performance:
    """How the study used its machines, as far as its record tells; engines in the order in which it lists them."""
    trials: dict[str, list[TrialRecord]] = {str(engine.get("name", "")): [] for engine in record.engines}
    for trial in record.trials:
        if trial.reports:
            trials.setdefault(trial.engine, []).append(trial)
    known = {str(engine.get("name", "")): engine for engine in record.engines}
    rows = sum(samples_seen(trial) for trial in record.trials)
    tokens = _sum(record, "tokens_seen")
    wall, search = _wall(record), _search(record)
    return Performance(
        engines=tuple(_engine(name, known.get(name, {}), held) for name, held in trials.items()),
        rows=rows,
        tokens=None if tokens is None else int(tokens),
        train_seconds=_sum(record, "train_seconds"),
        wall_seconds=wall,
        search_seconds=search,
        rows_per_second=rows / search if search else None,
    )


def _engine(name: str, facts: Mapping[str, Any], trials: list[TrialRecord]) -> EnginePerformance:
    points = _points(trials)
    cpu, memory = [p.cpu_percent for p in points], [p.memory_mb for p in points]
    samples, tokens = [p.samples_per_second for p in points], [p.tokens_per_second for p in points]
    return EnginePerformance(
        name=name,
        device=str(facts.get("device", "")),
        dtype=str(facts.get("dtype", "")),
        reports=sum(len(trial.reports) for trial in trials),
        mean_cpu_percent=_mean(cpu),
        peak_cpu_percent=_peak(cpu),
        peak_memory_mb=_peak(memory),
        peak_device_memory_mb=_peak(p.device_memory_mb for p in points),
        mean_samples_per_second=_mean(samples),
        peak_samples_per_second=_peak(samples),
        mean_tokens_per_second=_mean(tokens),
        peak_tokens_per_second=_peak(tokens),
        points=points,
    )


def _points(trials: Iterable[TrialRecord]) -> tuple[Point, ...]:
    """The measurements in the reports of one engine's trials. Trials that report together carry the same one, equal to
    the last digit, and reach the record one after the other: the first counts."""
    found: dict[tuple[float | None, ...], float] = {}
    for trial in trials:
        for report in trial.reports:
            seconds = _value(report, "time")
            values = (
                _value(report, "engine_samples_per_second"),
                _value(report, "engine_tokens_per_second"),
                _value(report, "cpu_percent"),
                _value(report, "memory_mb"),
                _value(report, "device_memory_mb"),
            )
            if seconds is not None and any(value is not None for value in values):
                found[values] = min(seconds, found.get(values, seconds))
    return tuple(sorted((Point(seconds, *values) for values, seconds in found.items()), key=lambda p: p.seconds))


def _wall(record: StudyRecord) -> float | None:
    if record.finished is not None:
        return record.finished - record.created
    return _peak(_value(report, "time") for trial in record.trials for report in trial.reports)


def _search(record: StudyRecord) -> float | None:
    """Seconds until the last trial ended; while one runs, all there were so far."""
    ends = [trial.finished for trial in record.trials if trial.finished is not None]
    if ends and len(ends) == len(record.trials):
        return max(ends) - record.created
    return _wall(record)


def _sum(record: StudyRecord, metric: str) -> float | None:
    """The sum of a metric in the last reports; None if one of them lacks it, for the rest would be too little."""
    values = [_value(trial.reports[-1], metric) for trial in record.trials if trial.reports]
    known = [value for value in values if value is not None]
    return math.fsum(known) if known and len(known) == len(values) else None


def _value(report: Mapping[str, float | None], metric: str) -> float | None:
    """A metric of a report. What is not finite was saved as null, and says as little."""
    value = report.get(metric)
    return value if value is not None and math.isfinite(value) else None


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None


def _peak(values: Iterable[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)
