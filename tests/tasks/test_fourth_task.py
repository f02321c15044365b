"""A task is added by its folder alone: it is found, it trains in packs, it is tuned."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.engine.toy import make_spec
from tuner import tasks
from tuner.config import StudyConfig
from tuner.engine.contract import EngineSettings
from tuner.engine.trainer import DeviceEngine
from tuner.errors import ConfigError
from tuner.store.outputs import read_outputs
from tuner.store.records import COMPLETE
from tuner.study.study import run_study


@pytest.fixture(autouse=True)
def added(monkeypatch: pytest.MonkeyPatch) -> None:
    """Extend the path on which tasks are found, as a user's own package would."""
    monkeypatch.setattr(tasks, "__path__", [*tasks.__path__, str(Path(__file__).parent / "added")])


def line_config(results: Path, **search: Any) -> StudyConfig:
    space = {
        "rank": {"type": "choice", "values": [1, 2]},
        "learning_rate": {"type": "float", "low": 1e-4, "high": 0.1, "log": True},
        "epochs": 2,
    }
    content = {
        "task": "line", "name": "fourth", "base_model": "plane", "space": space, "devices": ["cpu"],
        "precision": "fp32", "results": results, "search": {"trials": 4, "top_k": 1, "top_k_seeds": 2, **search},
    }  # fmt: skip
    return StudyConfig.model_validate(content)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[DeviceEngine]:
    made = DeviceEngine(EngineSettings(line_config(tmp_path), "cpu", max_pack=3))
    yield made
    made.close()


def test_it_is_found_beside_the_others() -> None:
    assert "line" in tasks.names()
    assert "sentiment" in tasks.names()
    assert tasks.spec("line").title == "A line through a plane"
    with pytest.raises(ConfigError, match=r"no such task.*line, sentiment"):
        tasks.spec("circle")


def test_it_trains_in_a_pack(engine: DeviceEngine) -> None:
    for rank in (1, 2, 3):
        engine.start(make_spec(str(rank), rank=rank, learning_rate=0.05, epochs=4, batch_size=4 * rank))
    reports = []
    for _ in range(8):
        reports = engine.advance_all(["1", "2", "3"])
    assert all(report.done and report.status == "ok" for report in reports)
    assert min(report.metrics["right"] for report in reports) > 0.8
    assert {"adapter_config.json", "adapter_model.safetensors"} == engine.export("1").keys()


def test_it_is_tuned(tmp_path: Path) -> None:
    record = run_study(line_config(tmp_path), in_process=True)
    assert record.state == COMPLETE
    assert len(record.trials) == 4
    assert record.winner is not None
    assert (tmp_path / "fourth" / "best" / "adapter_model.safetensors").is_file()
    outputs = read_outputs(tmp_path / "fourth")
    assert outputs is not None
    assert (outputs.trial_id, outputs.split, len(outputs.items)) == (record.winner.trial_id, "test", 24)
    assert outputs.items[0].metrics.keys() == {measure.metric for measure in tasks.spec("line").judged_by.measures}
