"""Who watches a study that the command line started: the progress display, and what is written beside the trials.

`Written` keeps TensorBoard logs while the study runs, and at the end writes the model card and the entry in the
database of experiments; `Reported` writes the report. None of these can stop a study: one that fails is dropped with a
line in the log.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path

from tuner.engine.contract import Report
from tuner.store.records import StudyRecord, TrialRecord
from tuner.study.observer import Observer, Phase, Watched

LOG = logging.getLogger(__name__)


class Observers:
    """Several observers as one, called in order; one that raises is left out from then on, and the others go on."""

    def __init__(self, *observers: Observer) -> None:
        self._watched = [Watched(observer) for observer in observers]

    def _tell(self, event: str, *args: object) -> None:
        for watched in self._watched:
            watched.tell(event, *args)

    def on_start(self, record: StudyRecord) -> None:
        """The engines are up."""
        self._tell("on_start", record)

    def on_phase(self, phase: Phase) -> None:
        """The study goes on to another phase."""
        self._tell("on_phase", phase)

    def on_report(self, trial: TrialRecord, report: Report) -> None:
        """A trial has reached a report."""
        self._tell("on_report", trial, report)

    def on_trial_end(self, trial: TrialRecord) -> None:
        """A trial has ended."""
        self._tell("on_trial_end", trial)

    def on_end(self, record: StudyRecord) -> None:
        """The study is over."""
        self._tell("on_end", record)


class Written:
    """What a study leaves besides its trials. `results` is the folder of all studies."""

    def __init__(self, results: Path) -> None:
        self._results = results
        self._tensorboard: Observer | None = None

    def on_start(self, record: StudyRecord) -> None:
        """Open the TensorBoard logs: only now does the study have its name."""
        from tuner.report.tensorboard import TensorBoardObserver

        self._tensorboard = TensorBoardObserver(self._results / record.name / "tensorboard")
        self._tensorboard.on_start(record)

    def on_phase(self, phase: Phase) -> None:
        """Pass on to TensorBoard."""
        if self._tensorboard is not None:
            self._tensorboard.on_phase(phase)

    def on_report(self, trial: TrialRecord, report: Report) -> None:
        """Pass on to TensorBoard."""
        if self._tensorboard is not None:
            self._tensorboard.on_report(trial, report)

    def on_trial_end(self, trial: TrialRecord) -> None:
        """Pass on to TensorBoard."""
        if self._tensorboard is not None:
            self._tensorboard.on_trial_end(trial)

    def on_end(self, record: StudyRecord) -> None:
        """Close the logs; write the card and the entry in experiments.db, whichever of them fails."""
        folder = self._results / record.name
        if self._tensorboard is not None:
            _try("the TensorBoard logs", lambda: self._tensorboard.on_end(record) if self._tensorboard else None)
        _try("the database of experiments", lambda: _enter(self._results, record))
        if record.winner is not None:
            _try("the model card", lambda: _card(folder, record))


class Reported:
    """Writes the report of a study that has ended, whatever its state. `results` is the folder of all studies."""

    def __init__(self, results: Path) -> None:
        self._results = results

    def on_start(self, record: StudyRecord) -> None:
        """There is nothing to report yet."""

    def on_phase(self, phase: Phase) -> None:
        """A report is of the whole."""

    def on_report(self, trial: TrialRecord, report: Report) -> None:
        """A report is of the whole."""

    def on_trial_end(self, trial: TrialRecord) -> None:
        """A report is of the whole."""

    def on_end(self, record: StudyRecord) -> None:
        """Write the report."""
        _try("the report", lambda: _report(self._results / record.name, record))


def _try(what: str, write: Callable[[], object]) -> None:
    try:
        write()
    except Exception:
        LOG.exception("%s could not be written", what)


def _enter(results: Path, record: StudyRecord) -> None:
    from tuner.store.experiments import open_experiments

    with open_experiments(results / "experiments.db") as experiments:
        experiments.record_study(record)


def _card(folder: Path, record: StudyRecord) -> None:
    from tuner.report.card import model_card
    from tuner.store.files import write_text

    assert record.winner is not None
    write_text(folder / record.winner.adapter / "README.md", model_card(record))


def _report(folder: Path, record: StudyRecord) -> None:
    from tuner.report.analysis import analyse
    from tuner.report.training_report import write_report

    write_report(folder, record, analyse(folder, record, time.time()))
