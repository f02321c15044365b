"""Every study that was ever run here, in one database: what was tried and what won.

SQLite in `results/experiments.db` by default; any SQLAlchemy URL puts the same two tables on a server. Studies come in
as `StudyRecord`s and leave as plain values. Knows nothing of how a study runs, nor of the study's own study.db.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, delete, event, func, insert, inspect, make_url, select, update
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError, IntegrityError, NoSuchModuleError, SQLAlchemyError

from tuner.errors import StoreError
from tuner.store.files import finite
from tuner.store.records import COMPLETE, FAILED, PRUNED, StudyRecord
from tuner.store.tables import METADATA, STUDIES, TRIALS, study_row, trial_row

LOCK_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class StudySummary:
    """One study in a list. Times are seconds since the epoch; `trials` counts all trials, the next three those in each
    state; `score` is the winner's mean score with its 95 % `interval`, None where there is no winner (yet)."""

    name: str
    task: str
    base_model: str
    state: str
    created: float
    finished: float | None
    trials: int
    complete: int
    pruned: int
    failed: int
    score: float | None
    interval: tuple[float, float] | None
    params: dict[str, Any] | None
    test: dict[str, float]


class Experiments:
    """The database of all studies, for several threads and processes at once. Every method may raise StoreError."""

    def __init__(self, engine: Engine, place: str) -> None:
        self._engine = engine
        self._place = place

    def record_study(self, record: StudyRecord) -> None:
        """Save a study with its trials in place of what was known of it. One transaction: readers see old or new."""
        with self._guard():
            try:
                self._save(record)
            except IntegrityError:
                # Another process has inserted the same study since we looked: now it is there to be updated.
                self._save(record)

    def _save(self, record: StudyRecord) -> None:
        values = study_row(record)
        find = select(STUDIES.c.id).where(STUDIES.c.name == record.name, STUDIES.c.created == record.created)
        with self._engine.begin() as connection:
            study_id = connection.execute(find).scalar_one_or_none()
            if study_id is None:
                connection.execute(insert(STUDIES).values(values))
                study_id = connection.execute(find).scalar_one()
            else:
                connection.execute(update(STUDIES).where(STUDIES.c.id == study_id).values(values))
                connection.execute(delete(TRIALS).where(TRIALS.c.study_id == study_id))
            rows = [{"study_id": study_id, **trial_row(trial)} for trial in record.trials]
            if rows:
                connection.execute(insert(TRIALS), rows)

    def list_studies(self, task: str | None = None) -> list[StudySummary]:
        """All studies (of one task), newest first."""
        counts = select(TRIALS.c.study_id, TRIALS.c.state, func.count()).group_by(TRIALS.c.study_id, TRIALS.c.state)
        studies = select(STUDIES).order_by(STUDIES.c.created.desc(), STUDIES.c.id.desc())
        if task is not None:
            studies = studies.where(STUDIES.c.task == task)
        with self._reading() as connection:
            states: dict[int, dict[str, int]] = {}
            for study_id, state, count in connection.execute(counts):
                states.setdefault(study_id, {})[state] = count
            return [_summary(row._mapping, states.get(row.id, {})) for row in connection.execute(studies)]

    def winners(self, task: str, base_model: str, limit: int = 5) -> list[dict[str, Any]]:
        """Hyperparameters of earlier studies' winners for this task and base, best mean score first, no point twice.

        Scores of studies on other data are not strictly comparable: these are points worth trying, not a ranking.
        """
        query = (
            select(STUDIES.c.winner)
            .where(STUDIES.c.task == task, STUDIES.c.base_model == base_model, STUDIES.c.score.is_not(None))
            .order_by(STUDIES.c.score.desc(), STUDIES.c.created.desc())
        )
        points: dict[str, dict[str, Any]] = {}
        with self._reading() as connection:
            for (winner,) in connection.execute(query):
                if len(points) >= limit:
                    break
                points.setdefault(json.dumps(winner["params"], sort_keys=True), winner["params"])
        return list(points.values())

    def best_of(self, task: str, base_model: str) -> dict[str, Any] | None:
        """Hyperparameters of the best winner so far for this task and base, None if no study has ended with one."""
        return next(iter(self.winners(task, base_model, limit=1)), None)

    def close(self) -> None:
        """Give back the connections."""
        self._engine.dispose()

    def __enter__(self) -> Experiments:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _create(self) -> None:
        with self._reading() as connection:
            if inspect(connection).has_table(TRIALS.name):
                return
        with self._guard(), self._engine.begin() as connection:
            METADATA.create_all(connection)

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        with self._guard(), self._engine.connect().execution_options(reads_only=True) as connection:
            yield connection

    @contextmanager
    def _guard(self) -> Iterator[None]:
        try:
            yield
        except (SQLAlchemyError, ValueError, KeyError, TypeError) as error:
            raise StoreError(_sentence(error, self._place)) from error


def open_experiments(where: str | Path) -> Experiments:
    """Open the database at a file path or an SQLAlchemy URL (anything with "://"), making it if it is not there.

    Raises StoreError for a bad URL, a missing driver, a folder that cannot be written, or a file that is no database.
    """
    url, place = _place(where)
    try:
        is_file = url.get_backend_name() == "sqlite"
        if is_file and url.database:
            Path(url.database).parent.mkdir(parents=True, exist_ok=True)
        engine = create_engine(
            url,
            json_serializer=_to_json,
            connect_args={"timeout": LOCK_TIMEOUT_S} if is_file else {},
            pool_pre_ping=not is_file,
        )
    except OSError as error:
        raise StoreError(f"cannot write {place}: {error.strerror or error}. Choose another --results.") from error
    except (ImportError, NoSuchModuleError) as error:
        raise StoreError(f"no driver for the database {place}: {error}. Install the driver or use a file.") from error
    if is_file:
        _serialise_writers(engine)
    experiments = Experiments(engine, place)
    experiments._create()
    return experiments


def _place(where: str | Path) -> tuple[URL, str]:
    """The URL, and how to call it in a message: a path for SQLite, never with a password."""
    try:
        url = make_url(where) if isinstance(where, str) and "://" in where else None
    except (ArgumentError, ValueError) as error:
        # The text may hold a password, so it is not repeated.
        raise StoreError("the database URL cannot be read. Write a file path or dialect://user@host/name.") from error
    if url is None:
        url = URL.create("sqlite", database=str(where))
    if url.get_backend_name() == "sqlite":
        return url, url.database or "the database in memory"
    return url, url.render_as_string(hide_password=True)


def _serialise_writers(engine: Engine) -> None:
    """Take SQLite's write lock when a transaction begins and wait for it there.

    SQLite's deferred transactions read first and ask for the lock later; two of them then refuse each other at once
    without waiting. Transactions that only read take no lock, so a read-only database can be listed. The rollback
    journal is kept rather than WAL, because results may lie on a network file system.
    """

    @event.listens_for(engine, "connect")
    def _manual_transactions(connection: Any, _: Any) -> None:
        connection.isolation_level = None
        connection.execute("PRAGMA foreign_keys = ON")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        reads_only = connection.get_execution_options().get("reads_only", False)
        connection.exec_driver_sql("BEGIN" if reads_only else "BEGIN IMMEDIATE")


def _to_json(value: Any) -> str:
    return json.dumps(finite(value), ensure_ascii=False, default=str, allow_nan=False)


def _summary(row: Any, states: dict[str, int]) -> StudySummary:
    winner = row["winner"] or {}
    interval = winner.get("interval")
    return StudySummary(
        **{name: row[name] for name in ("name", "task", "base_model", "state", "created", "finished", "score")},
        trials=sum(states.values()),
        complete=states.get(COMPLETE, 0),
        pruned=states.get(PRUNED, 0),
        failed=states.get(FAILED, 0),
        interval=tuple(interval) if interval else None,
        params=winner.get("params"),
        test=winner.get("test", {}),
    )


def _sentence(error: Exception, place: str) -> str:
    """What went wrong in words a person can act on; SQLite's own texts are the only sign of the cause there is."""
    text = " ".join(str(getattr(error, "orig", None) or error).split())
    known = {
        ("locked", "busy"): f"{place} is locked by another process for more than {LOCK_TIMEOUT_S:.0f} s. Try again.",
        ("not a database", "malformed"): f"{place} is damaged or no database. Move it away; a new one is made.",
        ("disk is full", "disk i/o error"): f"cannot write {place}: no space left or the disk failed. Free space.",
        ("readonly", "unable to open"): f"cannot write {place}. Check its permissions or choose another --results.",
        ("no such column", "no column named"): f"{place} was made by another version of this program. Move it away.",
    }
    for signs, sentence in known.items():
        if any(sign in text.lower() for sign in signs):
            return sentence
    return f"the database {place} cannot be used: {text}."
