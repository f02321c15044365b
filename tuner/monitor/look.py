"""One look at a study from outside: what its folder tells now, whether it runs, has ended or has fallen silent.

Reads study.json and the outputs and nothing else, so that it works from another process, and costs the study nothing.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

from tuner.errors import StoreError
from tuner.monitor.alerts import Alert, find_alerts, free_mb
from tuner.report.settings import Settings, settings_of
from tuner.report.standing import Standing, standing
from tuner.score_benchmark import ItemGrade, judge_item
from tuner.store.files import read_study
from tuner.store.outputs import read_outputs
from tuner.store.records import RUNNING, StudyRecord


@dataclass(frozen=True)
class Look:
    """A study as it was at `now`, in seconds since the epoch. `items` are the judged outputs of its winner; before
    there are such, the best report of each trial, by its name in `scores`. `best_scores` is the best score so far after
    each report, oldest first; `silent` how many seconds ago study.json was last written; `missing` what could not be
    read, "" if nothing."""

    record: StudyRecord
    settings: Settings
    standing: Standing
    items: tuple[ItemGrade, ...]
    scores: Mapping[str, float]
    alerts: tuple[Alert, ...]
    best_scores: tuple[float, ...]
    now: float
    silent: float
    missing: str = ""

    @property
    def ended(self) -> bool:
        """Whether the study runs no more, by its own word."""
        return self.record.state != RUNNING


def look(folder: Path) -> Look:
    """Look at the study in `folder`. Raises StoreError if study.json cannot be read, which for a moment may be so;
    ConfigError if it says what cannot be."""
    record = read_study(folder)
    now = time.time()
    try:
        written = (folder / "study.json").stat().st_mtime
    except OSError:
        written = now  # it is gone since, as the next look will find
    settings = settings_of(record)
    outputs, missing = None, ""
    if record.winner is not None:
        try:
            outputs = read_outputs(folder)
        except StoreError as error:
            missing = f"The outputs are left out: {error}"
    stands = standing(record, settings.judged_by, outputs)
    scores = {} if stands.items else {f"trial {t.number}": t.score for t in record.trials if t.score is not None}
    reports = {f"trial {t.number}": t.reports[t.best] for t in record.trials if t.best is not None}
    return Look(
        record=record,
        settings=settings,
        standing=stands,
        items=stands.items or tuple(judge_item(name, reports[name], settings.judged_by) for name in scores),
        scores=scores,
        alerts=tuple(find_alerts(record, settings, stands, free_mb(folder), now)),
        best_scores=best_scores(record),
        now=now,
        silent=max(0.0, now - written),
        missing=missing,
    )


def best_scores(record: StudyRecord) -> tuple[float, ...]:
    """The best score of the search so far after each report, in the order in which the reports came; in that of the
    trials where they do not say when, as in records of older versions."""
    found = [
        (report.get("time") or 0.0, report.get("score"))  # what was not finite was saved as null
        for trial in record.trials
        for report in trial.reports
    ]
    found.sort(key=lambda pair: pair[0])
    return tuple(accumulate((score for _, score in found if score is not None and math.isfinite(score)), max))
