"""The search itself, whoever runs the trials: asks the sampler, judges reports with ASHA, records what happened.

`on_ray.py` calls it from Ray Tune's searcher and scheduler, `in_process.py` from a plain loop; both get the same
search because all decisions are here. Calls come from one thread. Knows nothing of Ray or devices.
"""

from __future__ import annotations

import json
import logging
import math
import time
from dataclasses import replace

from optuna.trial import FrozenTrial

from tuner.config import StudyConfig
from tuner.engine.contract import Report, TrialSpec
from tuner.errors import StoreError
from tuner.store.records import COMPLETE, FAILED, INTERRUPTED, PRUNED, RUNNING, TrialRecord
from tuner.study.recorder import Recorder
from tuner.study.sampler import StudySampler
from tuner.study.schedule import STOP, Asha
from tuner.study.space import Space

log = logging.getLogger(__name__)

_CURES = {
    "nan": "A lower learning rate would help.",
    "out_of_memory": "A smaller batch or rank would fit.",
}


class Search:
    """One study's search. `train_rows` is how many rows one epoch has, `capacity` how many trials the engines hold at
    once, `busy` how many keep them busy; trials of the record that were left running or interrupted go on first.
    `config.search.trials` counts all trials of the study, earlier ones too."""

    def __init__(
        self, config: StudyConfig, space: Space, recorder: Recorder, train_rows: int, capacity: int, busy: int
    ) -> None:
        self._recorder = recorder
        self.concurrent = config.concurrency(capacity, busy)
        self._total = config.search.trials
        minutes = config.search.time_budget_minutes
        self._deadline = math.inf if minutes is None else time.monotonic() + 60 * minutes
        earlier = [
            replace(trial, state=RUNNING, finished=None, message="") if trial.state in (RUNNING, INTERRUPTED) else trial
            for trial in recorder.trials()
        ]
        self._waiting = [trial for trial in earlier if trial.state == RUNNING]
        self._asked = len(earlier)
        self._numbers = {trial.trial_id: trial.number for trial in earlier}
        self._running: set[str] = set()
        self._sampler = StudySampler(
            space,
            seed=config.search.seed,
            # so many are asked before any has ended: there is nothing to learn from yet
            startup_trials=max(config.search.startup_trials, min(self.concurrent, self._total)),
            start_points=config.start_points,
            earlier=earlier,
        )
        self.asha = _asha(config, recorder, train_rows, earlier)

    @property
    def unsaved(self) -> bool:
        """Whether the disk refuses what the study keeps, which is no trial's fault: the search had better end."""
        return self._recorder.broken

    def refused(self, error: StoreError) -> None:
        """The disk refused a checkpoint."""
        self._recorder.refused(error)

    @property
    def remaining(self) -> int:
        """How many trials are still to be started."""
        return len(self._waiting) + max(0, self._total - self._asked)

    def next(self) -> TrialSpec | None:
        """The next trial to run, or None: all were asked, or the time budget is used up."""
        if self.remaining == 0:
            return None
        if time.monotonic() >= self._deadline:
            log.warning("the time budget is used up: %d trials are not started", self.remaining)
            self._total = self._asked
            self._waiting.clear()
            return None
        if self._waiting:
            trial = self._waiting.pop(0)
        else:
            asked = self._sampler.ask()
            self._asked += 1
            trial = TrialRecord(asked.trial_id, asked.number, asked.params, asked.seed, started=time.time())
        self._numbers[trial.trial_id] = trial.number
        self._running.add(trial.trial_id)
        self._recorder.start(trial, self._sampler.frozen(trial.number))
        return TrialSpec(trial.trial_id, trial.params, trial.seed)

    def report(self, report: Report, engine: str) -> bool:
        """Take a report in. True if the trial goes on; otherwise it has been filed and must be stopped."""
        trial_id = report.trial_id
        if trial_id not in self._running:
            return False
        if report.status != "ok":
            self._end(trial_id, FAILED, _why(report.status, report.message))
            return False
        seen = self._recorder.trial(trial_id).reports
        if seen and report.samples <= seen[-1]["samples"]:
            # A trial that went on from a checkpoint older than its last report passes the same way again.
            return not report.done
        score = report.metrics.get("score", math.nan)
        self._sampler.report(trial_id, report.samples, score)
        self._recorder.report(report, engine, self._frozen(trial_id))
        if not math.isfinite(score):
            self._end(trial_id, FAILED, _why("nan", "the score is not a finite number"))
            return False
        decision = self.asha.on_report(trial_id, report.samples, score) if self.asha else None
        if report.done:
            self._end(trial_id, COMPLETE, "")
        elif decision == STOP and self.asha:
            rung = self.asha.rung_reached(report.samples) or 0
            self._end(trial_id, PRUNED, f"stopped at rung {rung + 1} after {report.samples} rows: others did better")
        return trial_id in self._running

    def fail(self, trial_id: str, message: str) -> None:
        """A trial cannot go on for a reason that no report tells."""
        if trial_id in self._running:
            self._end(trial_id, FAILED, message)

    def interrupt(self) -> None:
        """The study is being stopped: what runs is filed as interrupted, to go on from its newest checkpoint."""
        for trial_id in sorted(self._running):
            self._running.discard(trial_id)
            self._recorder.end(trial_id, INTERRUPTED, "the study was interrupted", self._frozen(trial_id))

    def _end(self, trial_id: str, state: str, message: str) -> None:
        self._running.discard(trial_id)
        self._sampler.tell(trial_id, state)
        self._recorder.end(trial_id, state, message, self._frozen(trial_id))

    def _frozen(self, trial_id: str) -> FrozenTrial:
        return self._sampler.frozen(self._numbers[trial_id])


def _why(status: str, message: str) -> str:
    """Why a trial failed, in a sentence that begins with the status, and what would help."""
    said = f"{status}: {message}" if message else status
    return f"{said}. {_CURES[status]}" if status in _CURES else said


def _asha(config: StudyConfig, recorder: Recorder, train_rows: int, earlier: list[TrialRecord]) -> Asha | None:
    """ASHA with the rungs that were kept, completed from the record: the two files may be a few seconds apart. None
    where the config has none, or no engine came up to tell how many rows an epoch has."""
    settings = config.search.asha
    if settings is None or not train_rows:
        return None
    asha = Asha(settings.grace_epochs * train_rows, settings.reduction_factor)
    if recorder.folder.rungs.is_file():
        try:
            kept = Asha.from_json(json.loads(recorder.folder.rungs.read_text(encoding="utf-8")))
            if (kept.grace, kept.reduction_factor) == (asha.grace, asha.reduction_factor):
                asha = kept
        except (ValueError, KeyError, TypeError, OSError) as error:
            log.warning("rungs.json cannot be read (%s): the rungs are rebuilt from the trials' reports", error)
    for trial in earlier:
        for metrics in trial.reports:
            asha.on_report(trial.trial_id, int(metrics["samples"]), metrics.get("score") or math.nan)
    return asha
