"""Trials as threads under Ray Tune's own controller: the hook is where it was, and Tune keeps its powers."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from ray import tune
from ray.air.execution._internal.actor_manager import RayActorManager
from ray.tune.execution import tune_controller
from ray.tune.execution.tune_controller import TuneController

from tuner.study.host import ThreadActorManager, hosted

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("on_ray")]

_calls: list[tuple[str, str]] = []
_failures: dict[str, int] = {}


class Counted(tune.Trainable):
    """Counts to five; a trial named in `_failures` raises at its third step, so many times."""

    def setup(self, config: dict[str, Any]) -> None:
        self.count = 0
        _calls.append(("setup", config["name"]))

    def step(self) -> dict[str, Any]:
        name = self.config["name"]
        if self.count == 2 and _failures.get(name, 0) > 0:
            _failures[name] -= 1
            raise RuntimeError("broken")
        self.count += 1
        return {"score": self.count, "pid": os.getpid(), "thread": threading.get_ident(), "done": self.count == 5}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        (Path(checkpoint_dir) / "count").write_text(str(self.count))

    def load_checkpoint(self, checkpoint: Any) -> None:
        self.count = int((Path(checkpoint) / "count").read_text())

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.count = 0
        _calls.append(("reset", new_config["name"]))
        return True

    def cleanup(self) -> None:
        _calls.append(("cleanup", self.config["name"]))


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_CHDIR_TO_TRIAL_DIR", "0")
    monkeypatch.setenv("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    monkeypatch.setenv("TUNE_DISABLE_SIGINT_HANDLER", "1")
    _calls.clear()
    _failures.clear()


def fit(storage: Path, names: list[str], reuse: bool = True, **run: Any) -> Any:
    with hosted():
        return tune.Tuner(
            Counted,
            param_space={"name": tune.grid_search(names)},
            tune_config=tune.TuneConfig(metric="score", mode="max", max_concurrent_trials=3, reuse_actors=reuse),
            run_config=tune.RunConfig(storage_path=str(storage), name="r", verbose=0, **run),
        ).fit()


def test_the_hook_is_where_it_was() -> None:
    assert tune_controller.RayActorManager is RayActorManager
    assert "RayActorManager" in TuneController.__init__.__code__.co_names
    with hosted():
        assert tune_controller.RayActorManager is ThreadActorManager
    assert tune_controller.RayActorManager is RayActorManager
    used = {name for name in dir(RayActorManager) if not name.startswith("__")}
    assert {
        "next", "_try_start_actors", "_try_kill_actor", "_cleanup_actor", "cleanup", "_actor_start_resolved",
    } <= used  # fmt: skip


def test_trials_are_threads_of_this_process_and_are_used_again(tmp_path: Path) -> None:
    before = threading.active_count()
    names = [f"n{i}" for i in range(8)]
    grid = fit(tmp_path, names)
    assert grid.num_errors == 0
    assert {result.metrics["pid"] for result in grid} == {os.getpid()}
    assert len({result.metrics["thread"] for result in grid}) <= 3
    assert [result.metrics["score"] for result in grid] == [5] * 8
    started = [name for call, name in _calls if call in ("setup", "reset")]
    assert sorted(started) == names
    assert any(call == "reset" for call, _ in _calls)
    for _ in range(100):
        if threading.active_count() <= before:
            break
        time.sleep(0.05)
    assert not [thread for thread in threading.enumerate() if thread.name == "trial"]


def test_a_failed_trial_is_retried_from_tunes_checkpoint(tmp_path: Path) -> None:
    _failures["bad"] = 1
    grid = fit(
        tmp_path,
        ["good", "bad"],
        failure_config=tune.FailureConfig(max_failures=1),
        checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=1),
    )
    assert grid.num_errors == 0
    assert [result.metrics["score"] for result in grid] == [5, 5]
    assert [result.metrics["training_iteration"] for result in grid] == [5, 5]


def test_a_trial_that_keeps_failing_ends_alone(tmp_path: Path) -> None:
    _failures["bad"] = 9
    grid = fit(tmp_path, ["good", "bad"], failure_config=tune.FailureConfig(max_failures=1))
    assert grid.num_errors == 1
    assert "broken" in str(grid.errors[0])
    assert [result.metrics["score"] for result in grid if result.error is None] == [5]


def test_a_stopper_ends_running_trials(tmp_path: Path) -> None:
    grid = fit(tmp_path, [f"n{i}" for i in range(6)], stop={"score": 2})
    assert [result.metrics["score"] for result in grid] == [2] * 6
    assert ("cleanup", "n0") in _calls or ("reset", "n5") in _calls
