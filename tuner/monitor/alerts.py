"""Alerts: what in a study calls for a person, found in its record, its standing and the disk that it writes to.

A limit that is met exactly is no alert, and what was not measured raises none. Knows nothing of who is told, or of what
was said before: `watch.py` does.

No progress counts only while the search can go on: that a search which has ended had found its best long before is no
cause for alarm, and the report's history shows it.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tuner.report.settings import Settings
from tuner.report.standing import Standing, best_trial
from tuner.report.trials import format_seconds
from tuner.score_benchmark import TOTAL_LOSS
from tuner.store.records import COMPLETE, FAILED, PRUNED, RUNNING, StudyRecord, TrialRecord

_ENDED = (COMPLETE, PRUNED, FAILED)
_FEW = 4  # of fewer ended trials a share says nothing, unless all failed
_MB = 2**20


@dataclass(frozen=True)
class Alert:
    """One alert that holds. `name` is "total_loss", "overall", "nan", "no_progress", "failed_trials", "disk", or that
    of a measure; `message` says it in full, with the numbers and what to do; `value` was measured, beyond `limit`."""

    name: str
    level: Literal["warning", "critical"]
    message: str
    value: float | None
    limit: float | None


def find_alerts(
    record: StudyRecord, settings: Settings, standing: Standing, free_mb: float | None, now: float
) -> list[Alert]:
    """The alerts that hold for a study at `now` (seconds since the epoch), whatever its state, critical ones first.
    `free_mb` is the disk space left in MB (2^20 bytes), None where that cannot be told."""
    found = [
        *_disk(record, settings.alerts.free_mb, free_mb),
        *_failed(record, settings.alerts.failed_share),
        *_not_finite(record),
        *_values(record, settings, standing),
        *_no_progress(record, settings.alerts.no_progress_trials, now),
    ]
    return sorted(found, key=lambda alert: alert.level != "critical")


def free_mb(folder: Path) -> float | None:
    """MB (2^20 bytes) free on the disk of a folder; None where that cannot be told."""
    try:
        return shutil.disk_usage(folder).free / _MB
    except OSError:
        return None


def _values(record: StudyRecord, settings: Settings, standing: Standing) -> Iterator[Alert]:
    """Total loss, measures and overall score against their limits. A comparison with NaN is false: no alert."""
    cure = f"`tuner advise {record.name}` says what to change."
    if record.state == RUNNING:
        cure = f"If it stays so to the end, {cure}"
    loss, most = standing.averages[TOTAL_LOSS], settings.alerts.total_loss_above
    if loss > most:
        shown, limit = _apart(loss, most)
        what = f"The total loss is {shown} and should not exceed {limit}"
        yield _warning(TOTAL_LOSS, f"{what} ({standing.source}). {cure}", loss, most)
    for measure in settings.judged_by.measures:
        value, least = standing.averages[measure.name], measure.alert_below
        if least is not None and value < least:
            shown, limit = _apart(value, least)
            what = f"The measure {measure.name}, {measure.title}, is {shown} and should not be below {limit}"
            yield _warning(measure.name, f"{what} ({standing.source}). {cure}", value, least)
    least = settings.alerts.overall_below
    if standing.overall < least:
        shown, limit = _apart(standing.overall, least)
        whose = "the winner's mean over its seeds" if record.winner is not None else "the best trial so far"
        what = f"The overall tuning score is {shown} and should not be below {limit}"
        yield _warning("overall", f"{what} ({whose}). {cure}", standing.overall, least)


def _not_finite(record: StudyRecord) -> Iterator[Alert]:
    broken = [trial for trial in record.trials if _was_not_finite(trial)]
    if not broken:
        return
    rates = [trial.params["learning_rate"] for trial in broken if trial.params.get("learning_rate")]
    cure = "Lower the learning rate, or look for rows that cannot be."
    if rates:
        cure = f"The lowest learning rate among them is {min(rates):.3g}: end its range below that."
    what = f"{len(broken)} of {_trials(len(record.trials))} ended because a loss or metric was not finite (NaN)"
    yield _warning("nan", f"{what}, the last of them trial {broken[-1].number}. {cure}", float(len(broken)), 0.0)


def _was_not_finite(trial: TrialRecord) -> bool:
    """Whether a trial failed on NaN or infinity: the search files it under the word "nan", with the reason behind."""
    if trial.state != FAILED:
        return False
    return trial.message.partition(" ")[0].rstrip(":") == "nan" or "not finite" in trial.message


def _no_progress(record: StudyRecord, most: int, now: float) -> Iterator[Alert]:
    best = best_trial(record)
    wanted = (record.config.get("search") or {}).get("trials", 0)
    # a study that goes on with more trials has its earlier re-runs still
    searched = bool(record.reruns) and sum(trial.state in _ENDED for trial in record.trials) >= wanted
    over = record.state == COMPLETE or record.winner is not None or searched
    since = None if best is None else _set_at(record, best)
    if over or best is None or since is None:
        return
    later = [t for t in record.trials if t is not best and t.state in _ENDED and (t.finished or 0.0) > since]
    if len(later) > most:
        took = format_seconds(max(0.0, (record.finished or now) - since))
        what = f"{len(later)} trials have ended in the {took} since trial {best.number} set the best score"
        cure = f"A study with wider ranges may find better: see `tuner advise {record.name}`."
        if record.state == RUNNING:
            cure = f"Ctrl-C ends the study and keeps what was trained. {cure}"
        message = f"{what}, {best.score:.4g}; at most {most} should end without a better one. {cure}"
        yield _warning("no_progress", message, float(len(later)), float(most))


def _set_at(record: StudyRecord, best: TrialRecord) -> float | None:
    """When the best score was reported; records of older versions only know when its trial ended."""
    seconds = best.reports[best.best].get("time") if best.best is not None else None
    return best.finished if seconds is None else record.created + seconds


def _failed(record: StudyRecord, most: float) -> Iterator[Alert]:
    ended = [trial for trial in record.trials if trial.state in _ENDED]
    failed = [trial for trial in ended if trial.state == FAILED]
    if not failed or (len(ended) < _FEW and len(failed) < len(ended)):
        return
    share = len(failed) / len(ended)
    if share > most:
        shown, limit = _apart(100 * share, 100 * most)
        last = failed[-1]
        what = f"{len(failed)} of {_trials(len(ended))} failed, {shown} % of those that ended; at most {limit} % should"
        why = f"The last, trial {last.number}, said: {_short(last.message)}" if last.message else "None said why."
        level: Literal["warning", "critical"] = "critical" if share == 1 else "warning"
        cure = "logs.txt in the study's folder has more."
        yield Alert("failed_trials", level, f"{what}. {why} {cure}", share, most)


def _disk(record: StudyRecord, least: int, free: float | None) -> Iterator[Alert]:
    if free is None or not free < least:
        return
    cure = f"Free some: a study that cannot save ends, and `tuner tune --resume {record.name}` goes on."
    # cut, not rounded: 999.9 MB are not the 1,000 that should be free
    what = f"Only {math.floor(free):,} MB are free on the disk of the results, and {least:,} MB should be"
    yield Alert("disk", "critical", f"{what}. {cure}", free, float(least))


def _warning(name: str, message: str, value: float, limit: float) -> Alert:
    return Alert(name, "warning", message, value, limit)


def _trials(count: int) -> str:
    return f"{count:,} trial{'s' if count != 1 else ''}"


def _short(message: str) -> str:
    line = " ".join(message.split())
    line = line if len(line) <= 200 else line[:199] + "…"
    return line if line.endswith((".", "…")) else line + "."


def _apart(value: float, limit: float) -> tuple[str, str]:
    """Two different numbers with as few digits as tell them apart, three at least."""
    digits = next((d for d in range(3, 17) if f"{value:.{d}g}" != f"{limit:.{d}g}"), 17)
    return f"{value:.{digits}g}", f"{limit:.{digits}g}"
