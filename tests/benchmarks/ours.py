"""Our side: the tuner as a user starts it, a StudyConfig and `run_study` with the defaults of both.

Only accuracy counts in the objective, as on the stock sides. The re-runs over seeds, which the stock sides have no
counterpart of, come after the last report of the search; they are as few as the config allows and are not noted.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from tests.benchmarks.harness import Event, Job, Space
from tuner.config import (
    AshaConfig,
    Constant,
    DataConfig,
    FloatRange,
    IntRange,
    ScoreConfig,
    SearchConfig,
    StudyConfig,
)
from tuner.study.study import run_study

REDUCTION_FACTOR = 3.0


class Noted:
    """An observer that notes the reports of the search, and of nothing that comes after it."""

    def __init__(self, note: Callable[[Event], None]) -> None:
        self.note = note
        self.searching = True

    def on_start(self, record: Any) -> None:
        """The engines are up."""

    def on_phase(self, phase: str) -> None:
        """The study goes from its search to what follows."""
        self.searching = phase == "search"

    def on_report(self, trial: Any, report: Any) -> None:
        """A trial has reached a report."""
        if self.searching and report.status == "ok":
            self.note(Event(time.time(), trial.trial_id, report.samples, report.metrics["accuracy"]))

    def on_trial_end(self, trial: Any) -> None:
        """A trial has ended."""

    def on_end(self, record: Any) -> None:
        """The study has ended."""


def config_of(job: Job) -> StudyConfig:
    """The job as a study. Listed configurations are its start points, and it has no more trials than those."""
    listed = bool(job.configs)
    space = _enclosing(job) if listed else job.space
    low, high = space.epochs
    return StudyConfig(
        task="sentiment",
        name="bench",
        base_model="minilm",
        data=DataConfig(train=job.rows.train, validation=job.rows.validation, test=job.rows.test),
        space={
            "rank": IntRange(type="int", low=space.rank[0], high=space.rank[1], log=True),
            "learning_rate": FloatRange(
                type="float", low=space.learning_rate[0], high=space.learning_rate[1], log=True
            ),
            "epochs": Constant(value=low) if low == high else IntRange(type="int", low=low, high=high),
            "batch_size": Constant(value=job.batch_size),
        },
        start_points=[dict(config) for config in job.configs],
        search=SearchConfig(
            trials=len(job.configs) if listed else job.trials,
            seed=job.seed,
            reports_per_epoch=job.reports_per_epoch,
            asha=None
            if listed
            else AshaConfig(grace_epochs=1 / job.reports_per_epoch, reduction_factor=REDUCTION_FACTOR),
            top_k=1,
            top_k_seeds=1,
        ),
        score=ScoreConfig(efficiency_weight=0.0, quality_weight=1.0, preservation_weight=0.0),
        devices=["cpu"],
        results=job.folder / "results",
    )


def _enclosing(job: Job) -> Space:
    """The smallest space that holds all configurations."""
    ends = {name: [config[name] for config in job.configs] for name in ("rank", "learning_rate", "epochs")}
    return Space(**{name: (min(values), max(values)) for name, values in ends.items()})


def run(job: Job, note: Callable[[Event], None]) -> None:
    """Run the job, telling `note` of each report of the search."""
    run_study(config_of(job), observer=Noted(note))
