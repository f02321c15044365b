"""results/<study>/study.db: the search as an Optuna storage, so that optuna-dashboard opens it while it runs.

Optuna's own storage on SQLite takes 5 to 10 ms for each small change, with a query for every value. So the search
runs in memory (`sampler.py`) and this mirror takes snapshots of trials: `put` only remembers the newest of each,
`flush`, called every second or so from the recorder's thread, brings the file up to date in one transaction. Optuna
makes the file and its tables; rows are inserted through Optuna's table definitions, which is private, so
constraints.txt pins Optuna and tests read everything back through its public API. The file is in write-ahead mode:
readers never block the study, and a crash loses at most what was not flushed.

A trial that an interrupted study left is WAITING in the file, Optuna's word for "to be run", until the study goes on.
"""

from __future__ import annotations

import copy
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from optuna.distributions import distribution_to_json
from optuna.trial import FrozenTrial, TrialState

from tuner.errors import StoreError


@dataclass(frozen=True, slots=True)
class _Written:
    """What the file holds of a trial; of one that is finished, `steps` are not remembered."""

    row: int
    state: TrialState
    steps: frozenset[int] = frozenset()


class StudyDatabase:
    """The file of one study. `put` may be called from any thread, `flush` and `close` from one at a time."""

    def __init__(self, path: Path, study_name: str, known: int | None = None) -> None:
        """`known` trials are in the study's record. What the file has beyond them is of a run that crashed before the
        record was saved; the study gives those numbers to new trials, so it is removed. None keeps all."""
        self._path = path
        self._known = known
        self._study_name = study_name
        self._lock = threading.Lock()
        self._changed: dict[int, FrozenTrial] = {}
        self._engine: Any = None
        self._study_id = -1
        self._written: dict[int, _Written] = {}

    def put(self, trial: FrozenTrial) -> None:
        """Remember the newest snapshot of a trial."""
        with self._lock:
            self._changed[trial.number] = trial

    def flush(self) -> None:
        """Write all snapshots that changed. Raises StoreError when the file cannot be written."""
        with self._lock:
            changed, self._changed = self._changed, {}
        try:
            if self._engine is None:
                self._open()
            if changed:
                self._write([changed[number] for number in sorted(changed)])
        except Exception as error:
            # SQLAlchemy, sqlite3 and Optuna each wrap a full disk in a class of their own.
            raise StoreError(f"cannot write {self._path}: {error}. Free space or choose another --results.") from error

    def close(self) -> None:
        """Flush, and fold the write-ahead log into the file."""
        self.flush()
        with self._engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        self._engine.dispose()

    def _open(self) -> None:
        import optuna
        import sqlalchemy
        from optuna.storages._rdb.storage import RDBStorage

        storage: Any = RDBStorage(f"sqlite:///{self._path}")

        @sqlalchemy.event.listens_for(storage.engine, "connect")
        def fast_and_safe(connection: Any, _: Any) -> None:
            # closed by hand: while a cursor on the first of these lives, SQLite refuses to commit
            connection.execute("PRAGMA journal_mode=WAL").close()
            connection.execute("PRAGMA synchronous=NORMAL").close()

        study = optuna.create_study(
            study_name=self._study_name, storage=storage, direction="maximize", load_if_exists=True
        )
        self._study_id = storage.get_study_id_from_name(study.study_name)
        trials = storage.get_all_trials(self._study_id)
        storage.remove_session()
        storage.engine.dispose()  # connections made before the pragmas
        self._engine = storage.engine
        kept = trials[: self._known]
        self._remove([trial._trial_id for trial in trials[len(kept) :]])
        for trial in kept:
            self._written[trial.number] = _written(trial._trial_id, trial)

    def _remove(self, rows: list[int]) -> None:
        from optuna.storages._rdb import models

        if rows:
            with self._engine.begin() as connection:
                for model in (
                    models.TrialParamModel,
                    models.TrialValueModel,
                    models.TrialIntermediateValueModel,
                    models.TrialModel,
                ):
                    table: Any = model.__table__
                    connection.execute(table.delete().where(table.c.trial_id.in_(rows)))

    def _write(self, trials: list[FrozenTrial]) -> None:
        """All changes of these trials in one transaction; what is remembered as written changes only once it is."""
        from optuna.storages._rdb import models

        table: Any = models.TrialModel.__table__
        params, values, steps = [], [], []
        written: dict[int, _Written] = {}
        with self._engine.begin() as connection:
            for trial in trials:
                known = self._written.get(trial.number)
                if known is not None and known.state.is_finished():
                    continue
                state = {"state": trial.state, "datetime_complete": _utc(trial.datetime_complete)}
                if known is None:
                    start = {"datetime_start": _utc(trial.datetime_start)}
                    new = table.insert().values(number=trial.number, study_id=self._study_id, **state, **start)
                    known = _Written(connection.execute(new).inserted_primary_key[0], trial.state)
                    params += _params(known.row, trial)
                elif known.state is not trial.state:
                    connection.execute(table.update().where(table.c.trial_id == known.row).values(**state))
                if trial.state.is_finished() and trial.value is not None:
                    kind = models.TrialValueModel.TrialValueType.FINITE
                    values.append({"trial_id": known.row, "objective": 0, "value": trial.value, "value_type": kind})
                steps += [
                    {
                        "trial_id": known.row,
                        "step": step,
                        "intermediate_value": value,
                        "intermediate_value_type": models.TrialIntermediateValueModel.TrialIntermediateValueType.FINITE,
                    }
                    for step, value in trial.intermediate_values.items()
                    if step not in known.steps
                ]
                written[trial.number] = _written(known.row, trial)
            for model, rows in (
                (models.TrialParamModel, params),
                (models.TrialValueModel, values),
                (models.TrialIntermediateValueModel, steps),
            ):
                if rows:
                    rows_table: Any = model.__table__
                    connection.execute(rows_table.insert(), rows)
        self._written.update(written)


def warm_up() -> None:
    """Make a database in memory and forget it: what the first flush would have to import, SQLAlchemy and alembic, takes
    half a second, and is best imported while the engines come up."""
    from optuna.storages._rdb.storage import RDBStorage

    storage: Any = RDBStorage("sqlite:///:memory:")
    storage.remove_session()
    storage.engine.dispose()


def waiting(trial: FrozenTrial) -> FrozenTrial:
    """A copy of a running trial that waits to be continued."""
    paused = copy.copy(trial)
    paused.state = TrialState.WAITING
    return paused


def _written(row: int, trial: FrozenTrial) -> _Written:
    if trial.state.is_finished():
        return _Written(row, trial.state)
    return _Written(row, trial.state, frozenset(trial.intermediate_values))


def _params(row: int, trial: FrozenTrial) -> list[dict[str, Any]]:
    return [
        {
            "trial_id": row,
            "param_name": name,
            "param_value": distribution.to_internal_repr(trial.params[name]),
            "distribution_json": distribution_to_json(distribution),
        }
        for name, distribution in trial.distributions.items()
    ]


def _utc(time: datetime | None) -> datetime | None:
    return None if time is None else time.astimezone(UTC).replace(tzinfo=None)
