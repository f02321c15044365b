"""Keeps a study's record: in memory at once, on disk a moment later from its own thread.

The search must never wait for a disk, so `start`, `report` and `end` only change memory; the thread flushes the
database and the trials' files every second and study.json every few seconds, less often if saving takes long.
`close` saves all that is left. Knows nothing of Ray or engines.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from optuna.trial import FrozenTrial

from tuner.engine.contract import Report
from tuner.errors import StoreError
from tuner.store.files import write_json, write_study
from tuner.store.records import INTERRUPTED, RUNNING, Rerun, StudyRecord, TrialRecord
from tuner.study.database import StudyDatabase, waiting
from tuner.study.folder import StudyFolder
from tuner.study.observer import Phase, Watched

log = logging.getLogger(__name__)

FLUSH_EVERY = 1.0
"""Seconds between two looks at what changed."""
SAVE_EVERY = 3.0
"""Seconds between two versions of study.json, at least; never more than a twentieth of the time goes into saving."""


class Recorder:
    """The record of one study while it runs. Made with the record so far; `open` starts its thread, `close` ends it."""

    def __init__(self, folder: StudyFolder, record: StudyRecord, watched: Watched) -> None:
        self.folder = folder
        self.watched = watched
        self._database = StudyDatabase(folder.database, record.name, len(record.trials))
        self._record = record
        self._trials = {trial.trial_id: trial for trial in record.trials}
        self._lock = threading.Lock()
        self._changed: set[str] = set()  # trials whose files are behind
        self._behind = False  # whether study.json is
        self._fresh: set[str] = set()
        self._rungs: Callable[[], Any] | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="recorder", daemon=True)
        self._broken: StoreError | None = None

    def open(self, rungs: Callable[[], Any] | None = None) -> None:
        """Save what there is and start the thread. `rungs` gives ASHA's state for rungs.json. Raises StoreError."""
        self._rungs = rungs
        # what a crash left of trials that never came into the record, whose ids are given anew
        self.folder.forget_others(self._trials)
        write_study(self.folder.path, self.snapshot())
        self._thread.start()

    @property
    def broken(self) -> bool:
        """Whether the disk refused something of the study."""
        return self._broken is not None

    def refused(self, error: StoreError) -> None:
        """The disk refused something of the study: what its own thread writes, or a checkpoint."""
        self._broken = self._broken or error

    def check(self) -> None:
        """Raises what the disk said when it refused, if it did: a study that cannot save should end."""
        if self._broken is not None:
            raise self._broken

    def trial(self, trial_id: str) -> TrialRecord:
        """The record of one trial."""
        return self._trials[trial_id]

    def trials(self) -> list[TrialRecord]:
        """The records of all trials, by number."""
        with self._lock:
            return list(self._trials.values())

    def snapshot(self) -> StudyRecord:
        """The whole record as of now."""
        with self._lock:
            return replace(self._record, trials=tuple(self._trials.values()))

    def update(self, **fields: Any) -> None:
        """Change fields of the study's record: engines, data, state, winner, finished."""
        with self._lock:
            self._record = replace(self._record, **fields)
            self._behind = True

    def phase(self, phase: Phase) -> None:
        """The study enters a phase."""
        log.info("phase: %s", phase)
        self.watched.tell("on_phase", phase)

    def start(self, trial: TrialRecord, frozen: FrozenTrial) -> None:
        """A trial starts, or goes on."""
        self._set(trial)
        self._fresh.add(trial.trial_id)
        self._database.put(frozen)
        log.info("trial %s: %s", trial.trial_id, dict(trial.params))

    def report(self, report: Report, engine: str, frozen: FrozenTrial) -> TrialRecord:
        """A trial reported. Returns its record with the report, to which it adds "time": seconds from the beginning of
        the study until now, pauses of an interrupted study among them."""
        old = self._trials[report.trial_id]
        # Names that come from another process are new strings each time; the records share one of each.
        metrics = {sys.intern(name): value for name, value in report.metrics.items()}
        since = round(time.time() - self._record.created, 3)
        trial = replace(old.with_report({**metrics, "samples": report.samples, "time": since}), engine=engine)
        self._set(trial)
        self._database.put(frozen)
        self.watched.tell("on_report", trial, report)
        return trial

    def end(self, trial_id: str, state: str, message: str, frozen: FrozenTrial) -> TrialRecord:
        """A trial ended, with one of the states of `store/records.py`."""
        trial = replace(self._trials[trial_id], state=state, message=message, finished=time.time())
        self._set(trial)
        self._database.put(waiting(frozen) if state == INTERRUPTED else frozen)
        log.info(
            "trial %s: %s after %d reports, score %s. %s", trial_id, state, len(trial.reports), trial.score, message
        )
        self.watched.tell("on_trial_end", trial)
        return trial

    def add_rerun(self, rerun: Rerun) -> None:
        """One of the top k was trained again."""
        with self._lock:
            self._record = replace(self._record, reruns=(*self._record.reruns, rerun))
            self._behind = True
        log.info("trial %s from seed %d: %s", rerun.trial_id, rerun.seed, dict(rerun.validation))

    def close(self) -> StudyRecord:
        """Save all and end the thread. Returns the final record. Raises StoreError when the disk refuses."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        self._flush()
        self._save()
        self._database.close()
        return self.snapshot()

    def _set(self, trial: TrialRecord) -> None:
        with self._lock:
            self._trials[trial.trial_id] = trial
            self._changed.add(trial.trial_id)
            self._behind = True

    def _work(self) -> None:
        due = time.monotonic() + SAVE_EVERY
        try:
            self._flush()  # opens the database while the first trials run, and says at once if that cannot be
            while not self._stop.wait(FLUSH_EVERY):
                self._flush()
                if time.monotonic() >= due:
                    began = time.monotonic()
                    if self._behind:
                        self._save()
                    due = time.monotonic() + max(SAVE_EVERY, 20 * (time.monotonic() - began))
        except StoreError as error:
            log.error("%s", error)
            self.refused(error)

    def _flush(self) -> None:
        self._database.flush()
        with self._lock:
            fresh, self._fresh = self._fresh, set()
            ended = {i for i in self._changed if self._trials[i].state != RUNNING}
            self._changed -= ended
            trials: Mapping[str, TrialRecord] = dict(self._trials)
        for trial_id in sorted(fresh):
            self.folder.write_trial_config(trials[trial_id])
        for trial_id in sorted(ended):
            self.folder.write_trial_metrics(trials[trial_id])

    def _save(self) -> None:
        with self._lock:
            changed, self._changed, self._behind = self._changed, set(), False
            trials = dict(self._trials)
        for trial_id in sorted(changed):
            self.folder.write_trial_metrics(trials[trial_id])
        write_study(self.folder.path, self.snapshot())
        if self._rungs is not None and (rungs := self._rungs()):
            write_json(self.folder.rungs, rungs)
