"""What a study leaves behind as data: one `StudyRecord` with a `TrialRecord` a trial, saved as study.json.

Plain dataclasses that turn into JSON and back; every reader (status, reports, model card, resume, charts) reads these
and nothing else. Knows nothing of Ray, Optuna or files: `store/files.py` writes them.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

RUNNING, COMPLETE, PRUNED, FAILED, INTERRUPTED = "running", "complete", "pruned", "failed", "interrupted"


@dataclass(frozen=True, slots=True)
class TrialRecord:
    """One trial. `reports` are the metrics of each report, oldest first, with "samples" among them; `best` is the
    index of the report with the highest score, None before the first. `state` is one of the five above; `message`
    says why it failed or at which rung it stopped. Times are seconds since the epoch."""

    trial_id: str
    number: int
    params: dict[str, Any]
    seed: int
    state: str = RUNNING
    engine: str = ""
    reports: tuple[dict[str, float], ...] = ()
    best: int | None = None
    started: float = 0.0
    finished: float | None = None
    message: str = ""

    @property
    def score(self) -> float | None:
        """The score of the best report."""
        return None if self.best is None else self.reports[self.best]["score"]

    def with_report(self, metrics: dict[str, float]) -> TrialRecord:
        """A copy that has one more report. A report with no finite score never becomes the best."""
        reports = (*self.reports, metrics)
        score = metrics.get("score", float("nan"))
        better = math.isfinite(score) and (self.score is None or score > self.score)
        return replace(self, reports=reports, best=len(reports) - 1 if better else self.best)

    def to_json(self) -> dict[str, Any]:
        """Plain dicts and lists, ready for json.dumps; shared with the record, so not to be changed."""
        return {each.name: getattr(self, each.name) for each in fields(self)}


@dataclass(frozen=True)
class Rerun:
    """One of the top k, trained again from another seed: its best validation metrics, and its test metrics."""

    trial_id: str
    seed: int
    validation: dict[str, float]
    test: dict[str, float]


@dataclass(frozen=True)
class Winner:
    """The chosen configuration: mean score over seeds with its 95 % interval, and where its adapter lies (relative)."""

    trial_id: str
    params: dict[str, Any]
    score: float
    interval: tuple[float, float] | None
    seeds: int
    metrics: dict[str, float]
    test: dict[str, float]
    grades: dict[str, str]
    adapter: str


@dataclass(frozen=True)
class StudyRecord:
    """A whole study. `config` is the StudyConfig as plain JSON; `data` holds row counts, label counts, warnings and
    fingerprints; `engines` one dict an engine (name, device, dtype, max_pack, notes); `command` reproduces it."""

    name: str
    task: str
    base_model: str
    config: dict[str, Any]
    command: str
    created: float
    finished: float | None = None
    state: str = RUNNING
    data: dict[str, Any] = field(default_factory=dict)
    engines: tuple[dict[str, Any], ...] = ()
    trials: tuple[TrialRecord, ...] = ()
    reruns: tuple[Rerun, ...] = ()
    winner: Winner | None = None
    versions: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain dicts and lists, ready for json.dumps."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> StudyRecord:
        """The inverse of `to_json`. Raises KeyError or TypeError if `data` is not a study record."""
        data = dict(data)
        kinds = {"name": str, "task": str, "created": int | float, "config": dict, "data": dict}
        wrong = [name for name, kind in kinds.items() if name in data and not isinstance(data[name], kind)]
        if wrong:
            raise TypeError(f"{', '.join(wrong)} cannot be what it is")
        data["engines"] = tuple(data.get("engines", ()))
        data["trials"] = tuple(
            TrialRecord(**{**trial, "reports": tuple(trial.get("reports", ()))}) for trial in data.get("trials", ())
        )
        data["reruns"] = tuple(Rerun(**rerun) for rerun in data.get("reruns", ()))
        for trial in data["trials"]:
            if trial.best is not None and not 0 <= trial.best < len(trial.reports):
                raise TypeError(f"trial {trial.trial_id} has no report {trial.best}")
        winner = data.get("winner")
        if winner is not None:
            score, interval = winner.get("score"), winner.get("interval")
            # what was not finite is null in JSON
            known = {"score": math.nan if score is None else score}
            known["interval"] = tuple(interval) if interval and None not in interval else None
            winner = Winner(**{**winner, **known})
        data["winner"] = winner
        return cls(**data)
