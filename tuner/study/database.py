"""results/<study>/study.db: the search as an Optuna storage, so that optuna-dashboard opens it while it runs.

Optuna's storage on SQLite takes 5 to 10 ms for each small change. So the search runs in memory (`sampler.py`) and this
mirror takes snapshots of trials: `put` only remembers the newest of each, `flush`, called every second or so
from the recorder's thread, brings the file up to date. A trial that started and ended between two flushes costs one call.
The file is in write-ahead mode: readers never block the study, and a crash loses at most what was not flushed.

A trial that an interrupted study left is WAITING in the file, Optuna's word for "to be run", until the study goes on.
"""

from __future__ import annotations

import copy
import threading
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from tuner.errors import StoreError


class StudyDatabase:
    """The file of one study. `put` may be called from any thread, `flush` and `close` from one at a time."""

    def __init__(self, path: Path, study_name: str) -> None:
        self._path = path
        self._study_name = study_name
        self._lock = threading.Lock()
        self._changed: dict[int, FrozenTrial] = {}
        self._storage: Any = None
        self._study_id = -1
        self._written: dict[int, tuple[int, set[int]]] = {}

    def put(self, trial: FrozenTrial) -> None:
        """Remember the newest snapshot of a trial."""
        with self._lock:
            self._changed[trial.number] = trial

    def flush(self) -> None:
        """Write all snapshots that changed. Raises StoreError when the file cannot be written."""
        with self._lock:
            changed, self._changed = self._changed, {}
        try:
            if self._storage is None:
                self._open()
            for number in sorted(changed):
                self._write(changed[number])
        except Exception as error:
            # SQLAlchemy, sqlite3 and Optuna each wrap a full disk in a class of their own.
            with self._lock:
                self._changed = {**changed, **self._changed}
            raise StoreError(f"cannot write {self._path}: {error}. Free space or choose another --results.") from error

    def close(self) -> None:
        """Flush, and fold the write-ahead log into the file."""
        self.flush()
        with self._storage.engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        self._storage.engine.dispose()

    def _open(self) -> None:
        # Imported here: the RDB storage brings SQLAlchemy and alembic, half a second that no trial should wait for.
        import optuna
        import sqlalchemy

        storage = optuna.storages.RDBStorage(f"sqlite:///{self._path}")

        @sqlalchemy.event.listens_for(storage.engine, "connect")  # type: ignore[untyped-decorator,unused-ignore]
        def fast_and_safe(connection: Any, _: Any) -> None:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=NORMAL")

        storage.engine.dispose()
        study = optuna.create_study(
            study_name=self._study_name, storage=storage, direction="maximize", load_if_exists=True
        )
        self._study_id = storage.get_study_id_from_name(study.study_name)
        for trial in storage.get_all_trials(self._study_id):
            self._written[trial.number] = (trial._trial_id, set(trial.intermediate_values))
        self._storage = storage

    def _write(self, trial: FrozenTrial) -> None:
        known = self._written.get(trial.number)
        if known is None:
            trial_id = self._storage.create_new_trial(self._study_id, template_trial=copy.copy(trial))
            self._written[trial.number] = (trial_id, set(trial.intermediate_values))
            return
        trial_id, steps = known
        if self._storage.get_trial(trial_id).state.is_finished():
            return
        for step, value in trial.intermediate_values.items():
            if step not in steps:
                self._storage.set_trial_intermediate_value(trial_id, step, value)
                steps.add(step)
        if trial.state is not TrialState.RUNNING:
            # RUNNING can only be reached from WAITING in Optuna, so a trial that goes on passes through both.
            values = trial.values if trial.state is TrialState.COMPLETE else None
            self._storage.set_trial_state_values(trial_id, trial.state, values)
        elif self._storage.get_trial(trial_id).state is TrialState.WAITING:
            self._storage.set_trial_state_values(trial_id, TrialState.RUNNING)


def waiting(trial: FrozenTrial) -> FrozenTrial:
    """A copy of a running trial that waits to be continued."""
    paused = copy.copy(trial)
    paused.state = TrialState.WAITING
    return paused
