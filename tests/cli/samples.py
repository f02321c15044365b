"""A small study as the record of one: two trials complete, one stopped early, one failed, one running."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from tests.engine.null_engine import NullEngine
from tuner.engine.contract import Report
from tuner.store.files import write_study
from tuner.store.records import COMPLETE, FAILED, PRUNED, RUNNING, StudyRecord, TrialRecord, Winner

CONFIG = {
    "task": "sentiment",
    "space": {
        "rank": {"type": "int", "low": 2, "high": 32},
        "learning_rate": {"type": "float", "low": 1e-4, "high": 5e-3, "log": True},
        "epochs": {"type": "int", "low": 1, "high": 4},
        "batch_size": {"type": "constant", "value": 8},
    },
    "search": {"trials": 8, "asha": {"grace_epochs": 0.5, "reduction_factor": 3.0}},
}


def trial(
    number: int, state: str, scores: list[float], epochs: int = 2, rank: int = 8, message: str = ""
) -> TrialRecord:
    """A trial with a report every 500 samples."""
    params = {
        "rank": rank,
        "learning_rate": 0.00123456,
        "epochs": epochs,
        "batch_size": 8,
        "target_modules": ["query", "value"],
    }
    made = TrialRecord(f"t{number:03d}", number, params, seed=number, state=RUNNING, engine="engine-0", message=message)
    for index, score in enumerate(scores):
        made = made.with_report({"score": score, "accuracy": score + 0.05, "samples": 500.0 * (index + 1)})
    return replace(made, state=state)


def record(name: str = "reviews", created: float = 1000.0) -> StudyRecord:
    """The study while it runs."""
    trials = (
        trial(0, COMPLETE, [0.6, 0.7, 0.72, 0.71]),
        trial(1, PRUNED, [0.5], rank=4, message="below the best third at 500 samples"),
        trial(2, COMPLETE, [0.65, 0.75, 0.81, 0.8], rank=16),
        trial(3, FAILED, [], message="the loss was not finite"),
        trial(4, RUNNING, [0.66], rank=12),
    )
    engine = {"name": "engine-0", "device": "cpu", "dtype": "bf16", "max_pack": 8, "train_rows": 1000, "notes": []}
    return StudyRecord(
        name, "sentiment", "minilm", CONFIG, "tuner tune sentiment", created, engines=(engine,), trials=trials
    )


def finished(name: str = "reviews", created: float = 1000.0) -> StudyRecord:
    """The study when it is over."""
    winner = Winner(
        trial_id="t002",
        params={"rank": 16, "learning_rate": 0.00123456, "epochs": 2, "target_modules": ["query", "value"]},
        score=0.8012,
        interval=(0.79, 0.81),
        seeds=3,
        metrics={
            "score": 0.8012,
            "score_efficiency": 0.95,
            "score_quality": 0.74,
            "score_preservation": 0.79,
            "efficiency": 0.00123,
            "accuracy": 0.86,
            "preservation": 0.8,
            "validation_loss": 0.38,
            "loss": 0.31,
        },
        test={"score": 0.79, "score_quality": 0.7, "accuracy": 0.8533, "test_loss": 0.4},
        grades={"efficiency": "excellent", "quality": "good", "preservation": "good", "overall": "good"},
        adapter="best",
    )
    return replace(record(name, created), state=COMPLETE, finished=created + 125, winner=winner)


def save(results: Path, study: StudyRecord, adapter: bool = True) -> Path:
    """Write a study's folder as a real one would look to the command line."""
    folder = results / study.name
    write_study(folder, study)
    (folder / "tensorboard").mkdir()
    (folder / "study.db").touch()
    if adapter:
        (folder / "best").mkdir()
        for name in ("adapter_config.json", "tuner.json"):
            (folder / "best" / name).write_text("{}")
    return folder


def ctrl_c_at(report: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Press Ctrl-C while the null engine works on its so many-th report."""
    whole, reports = NullEngine.advance, 0

    def advance(self: NullEngine, trial_id: str) -> Report:
        nonlocal reports
        reports += 1
        if reports == report:
            os.kill(os.getpid(), signal.SIGINT)
        return whole(self, trial_id)

    monkeypatch.setattr(NullEngine, "advance", advance)
