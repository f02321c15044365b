"""What a study tells those who watch it: the progress display, TensorBoard, tests.

Calls come from one thread, in order, and should return soon: the search waits for them. An observer that raises is
dropped with a line in the log; watching never costs a study.
"""

from __future__ import annotations

import logging
from typing import Literal, Protocol

from tuner.engine.contract import Report
from tuner.store.records import StudyRecord, TrialRecord

Phase = Literal["search", "rerun", "export"]

log = logging.getLogger(__name__)


class Observer(Protocol):
    """Watches a study. All methods get records, which never change after they were passed."""

    def on_start(self, record: StudyRecord) -> None:
        """The engines are up; `record` names them, and the trials so far when a study is resumed."""

    def on_phase(self, phase: Phase) -> None:
        """The study goes from searching to re-running the top k to exporting."""

    def on_report(self, trial: TrialRecord, report: Report) -> None:
        """A trial reported, a re-run among them (its id ends in -seed-<seed>). `trial` holds the report already."""

    def on_trial_end(self, trial: TrialRecord) -> None:
        """A trial ended; `trial.state` and `trial.message` say how."""

    def on_end(self, record: StudyRecord) -> None:
        """The study ended, complete or interrupted, and is saved."""


class Watched:
    """Calls an observer, or nobody; keeps the study safe from what it raises."""

    def __init__(self, observer: Observer | None) -> None:
        self._observer = observer

    def tell(self, event: str, *args: object) -> None:
        """Call the observer's method `event`."""
        if self._observer is None:
            return
        try:
            getattr(self._observer, event)(*args)
        except Exception:
            log.exception("the observer failed at %s and is not called again", event)
            self._observer = None
