"""Studies of one series as rounds: their numbers side by side, the change from each to the next, and whether two rounds
were measured alike.

    improvement = (current - previous) / previous * 100, in percent

Reads what the studies left on disk and measures nothing. What was not measured is NaN.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuner.cli.find import all_studies
from tuner.errors import StudyError, TunerError
from tuner.report.settings import Settings, settings_of
from tuner.report.standing import NOTHING, Standing, best_trial, standing
from tuner.report.trials import listed
from tuner.score_benchmark import TOTAL_LOSS
from tuner.store.outputs import Outputs, read_outputs
from tuner.store.records import StudyRecord

OVERALL = "overall_score"
_SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Round:
    """One study of a series. `iteration` counts from 1, `created` is in seconds since the epoch. `averages` by the
    names of the measures; `source` says what they were measured on. `improvement` is by how many percent
    "overall_score" and "total_loss" changed since the round before: None without one, or where one of the two was not
    measured or the earlier is 0. `comparable` with the round before; `reason` says why not, and what could not be
    read."""

    iteration: int
    study: str
    created: float
    overall_score: float
    total_loss: float
    averages: Mapping[str, float]
    source: str
    improvement: Mapping[str, float | None]
    comparable: bool
    reason: str


@dataclass(frozen=True)
class _Measured:
    """One study, and how it was measured; without settings where its config cannot be."""

    record: StudyRecord
    settings: Settings | None
    stands: Standing
    outputs: Outputs | None
    notes: tuple[str, ...]


def series_of(folder: Path, record: StudyRecord) -> list[tuple[Path, StudyRecord]]:
    """The studies that the one in `folder` goes on from, and itself, oldest first: those beside it of the same task and
    base model, on the same training rows or from the same source of data, and not younger. A copy of a folder is no
    round of its own."""
    found = {_identity(record): (folder, record)}
    for place, other in all_studies(folder.parent):
        if other.created <= record.created and _same_series(record, other):
            found.setdefault(_identity(other), (place, other))
    return _oldest_first(list(found.values()))


def _identity(record: StudyRecord) -> tuple[str, float]:
    """A study keeps its name and its moment when its folder is copied or renamed."""
    return record.name, record.created


def rounds_of(studies: Sequence[tuple[Path, StudyRecord]], preset: str | None = None) -> list[Round]:
    """Studies, each with its folder, as rounds, oldest first. A study without a winner, with outputs that cannot be
    read or with a config that cannot be stands among them with what is known. `preset` weighs all outputs
    otherwise than the configs do. Raises StudyError for several tasks."""
    tasks = list(dict.fromkeys(record.task for _, record in studies))
    if len(tasks) > 1:
        raise StudyError(
            f"studies of several tasks ({', '.join(sorted(tasks))}) have no number in common. Name those of one task."
        )
    rounds: list[Round] = []
    before: _Measured | None = None
    measured: tuple[int, _Measured] | None = None  # the last round that measured anything
    for iteration, (folder, record) in enumerate(_oldest_first(studies), 1):
        now = _measure(folder, record, preset)
        averages = dict(now.stands.averages)
        loss = averages.pop(TOTAL_LOSS, math.nan)
        previous = rounds[-1] if rounds else None
        differences = _differences(before, now) if before is not None else []
        unlike = f"Not measured as round {iteration - 1} was: {', '.join(differences)}." if differences else ""
        if not differences and measured is not None and measured[1] is not before:
            differences = _differences(measured[1], now)
            unlike = f"Not measured as round {measured[0]} was: {', '.join(differences)}." if differences else ""
        rounds.append(
            Round(
                iteration=iteration,
                study=record.name,
                created=record.created,
                overall_score=now.stands.overall,
                total_loss=loss,
                averages=averages,
                source=now.stands.source,
                improvement={
                    OVERALL: _change(now.stands.overall, previous.overall_score if previous else math.nan),
                    TOTAL_LOSS: _change(loss, previous.total_loss if previous else math.nan),
                },
                comparable=not differences,
                reason=" ".join(part for part in (unlike, *now.notes) if part),
            )
        )
        before = now
        if now.stands.source != NOTHING:
            measured = iteration, now
    return rounds


@dataclass(frozen=True)
class BaseBest:
    """The best study on one base model, of so many. `interval` is the 95 % interval over seeds, `adapter_mb` the size
    of the adapter in MB (10^6 bytes), `seconds` how long the study took: None where not known. `overall_score` is NaN
    where no study has one."""

    base_model: str
    studies: int
    study: str
    overall_score: float
    interval: tuple[float, float] | None
    adapter_mb: float | None
    seconds: float | None


def best_by_base(rounds: Sequence[Round], records: Sequence[StudyRecord]) -> list[BaseBest]:
    """For each base model the best of its studies, which `rounds` hold too; the best base first, those without a score
    last."""
    overall = {(each.study, each.created): each.overall_score for each in rounds}
    bases: dict[str, list[StudyRecord]] = {}
    for record in records:
        bases.setdefault(record.base_model, []).append(record)
    found = []
    for base, there in bases.items():
        best = max(there, key=lambda record: _or_least(overall[_identity(record)]))
        winner, trial = best.winner, best_trial(best)
        metrics = winner.metrics if winner else trial.reports[trial.best] if trial and trial.best is not None else {}
        found.append(
            BaseBest(
                base_model=base,
                studies=len(there),
                study=best.name,
                overall_score=overall[_identity(best)],
                interval=winner.interval if winner else None,
                adapter_mb=metrics.get("adapter_mb"),
                seconds=best.finished - best.created if best.finished is not None else None,
            )
        )
    return sorted(found, key=lambda each: -_or_least(each.overall_score))


def _or_least(score: float) -> float:
    return score if math.isfinite(score) else -math.inf


def _oldest_first(studies: Sequence[tuple[Path, StudyRecord]]) -> list[tuple[Path, StudyRecord]]:
    return sorted(studies, key=lambda pair: (pair[1].created, pair[1].name))


def _same_series(record: StudyRecord, other: StudyRecord) -> bool:
    if (record.task, record.base_model) != (other.task, other.base_model):
        return False
    rows = _fingerprint(record, "train")
    return (rows is not None and rows == _fingerprint(other, "train")) or _data_source(record) == _data_source(other)


def _data_source(record: StudyRecord) -> tuple[str, ...]:
    data: Mapping[str, Any] = record.config.get("data") or {}
    return tuple(str(data.get(name) or "") for name in ("source", *_SPLITS))


def _fingerprint(record: StudyRecord, split: str) -> str | None:
    return (record.data.get("fingerprints") or {}).get(split)


def _measure(folder: Path, record: StudyRecord, preset: str | None) -> _Measured:
    notes, outputs = [], None
    try:
        outputs = read_outputs(folder)
    except TunerError as error:
        notes.append(f"Its outputs are left out: {error}")
    try:
        settings = settings_of(record, preset)
    except TunerError as error:
        nowhere = Standing("nothing: its config cannot be read", {}, math.nan)
        return _Measured(record, None, nowhere, None, (*notes, " ".join(str(error).split())))
    return _Measured(record, settings, standing(record, settings.judged_by, outputs), outputs, tuple(notes))


def _differences(before: _Measured, now: _Measured) -> list[str]:
    """What sets two rounds apart besides their hyperparameters, in few words each."""
    found = []
    if before.record.base_model != now.record.base_model:
        found.append(f"base model {now.record.base_model} in place of {before.record.base_model}")
    pairs = {split: (_fingerprint(before.record, split), _fingerprint(now.record, split)) for split in _SPLITS}
    other = [split for split, (old, new) in pairs.items() if old and new and old != new]
    unknown = [split for split, (old, new) in pairs.items() if (old is None or new is None) and old != new]
    found += [f"other {listed(other)} rows"] * bool(other)
    found += [f"its {listed(unknown)} rows are not known to be the same"] * bool(unknown)
    if before.settings is None or now.settings is None:
        return [*found, "one of the two has a config that cannot be read"]
    found += _judged_otherwise(before.settings, now.settings)
    if _rows(before) != _rows(now) and NOTHING not in (before.stands.source, now.stands.source):
        found.append(f"its averages are those of {now.stands.source}, not of {before.stands.source}")
    return found


def _judged_otherwise(before: Settings, now: Settings) -> list[str]:
    weights = [
        (each.score.efficiency_weight, each.score.quality_weight, each.score.preservation_weight)
        for each in (before, now)
    ]
    checks = {
        "other weights of the overall score": weights[0] != weights[1],
        "other bands": before.bands != now.bands,
        "other scores of the grades": before.score.grades != now.score.grades,
        "another metric of quality": before.sources != now.sources,
        "other weights of the total loss": before.judged_by.weights != now.judged_by.weights,
    }
    return [words for words, differs in checks.items() if differs]


def _rows(measured: _Measured) -> tuple[str, int]:
    """Which rows the averages are of, and how many where they were judged one by one."""
    stands, outputs = measured.stands, measured.outputs
    return (outputs.split, len(stands.items)) if stands.items and outputs is not None else ("validation", 0)


def _change(current: float, previous: float) -> float | None:
    if not (math.isfinite(current) and math.isfinite(previous)) or previous == 0:
        return None
    return (current - previous) / previous * 100
