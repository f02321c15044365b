"""The two tables of the experiments database, studies and trials, and how records become their rows.

Knows nothing of engines, files or transactions: `store/experiments.py` has those.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, Column, Float, ForeignKey, Integer, MetaData, String, Table, Text, UniqueConstraint

from tuner.store.records import StudyRecord, TrialRecord

METADATA = MetaData()
# A study is its name and its moment: the same name in two results folders of one server stays two studies, and a
# resumed study, which keeps its moment, stays one.
STUDIES = Table(
    "studies",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("name", String(255), nullable=False),
    Column("created", Float(53), nullable=False),
    Column("task", String(255), nullable=False, index=True),
    Column("base_model", String(512), nullable=False, index=True),
    Column("state", String(32), nullable=False),
    Column("finished", Float(53)),
    Column("command", Text, nullable=False),
    Column("config", JSON, nullable=False),
    Column("data", JSON, nullable=False),
    Column("engines", JSON, nullable=False),
    Column("versions", JSON, nullable=False),
    Column("winner", JSON(none_as_null=True)),
    Column("score", Float(53)),
    UniqueConstraint("name", "created"),
)
TRIALS = Table(
    "trials",
    METADATA,
    Column("study_id", ForeignKey("studies.id", ondelete="CASCADE"), primary_key=True),
    Column("trial_id", String(255), primary_key=True),
    Column("number", Integer, nullable=False),
    Column("state", String(32), nullable=False),
    Column("seed", Integer, nullable=False),
    Column("params", JSON, nullable=False),
    Column("score", Float(53)),
    Column("samples", Integer, nullable=False),
    Column("metrics", JSON, nullable=False),
    Column("engine", String(255), nullable=False),
    Column("started", Float(53), nullable=False),
    Column("finished", Float(53)),
    Column("message", Text, nullable=False),
)


def _number(value: float | None) -> float | None:
    """NaN and infinity are no values in a database."""
    return value if value is not None and abs(value) < float("inf") else None


def study_row(record: StudyRecord) -> dict[str, Any]:
    """The values of a study's columns, all but its id."""
    plain = record.to_json()
    values = {column.name: plain[column.name] for column in STUDIES.columns if column.name in plain}
    return {**values, "score": _number(record.winner.score) if record.winner else None}


def trial_row(trial: TrialRecord) -> dict[str, Any]:
    """The values of a trial's columns, all but its study's id; `metrics` are those of the best report."""
    names = ("trial_id", "number", "state", "seed", "params", "engine", "started", "finished", "message")
    return {
        **{name: getattr(trial, name) for name in names},
        "score": _number(trial.score),
        "samples": int(trial.reports[-1].get("samples") or 0) if trial.reports else 0,
        "metrics": trial.reports[trial.best] if trial.best is not None else {},
    }
