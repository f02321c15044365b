"""Whole studies on Ray with the null engine: the same truth as in process, and what only a cluster can do wrong."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.engine.null_engine import HELD_OUT, MORTAL_ENGINE, NULL_ENGINE, SLOW_ENGINE, score_of
from tests.study.factory import SPACE, make_config
from tests.study.test_database import load
from tests.study.test_study import Watcher
from tuner.device_host import cores
from tuner.engine import actor
from tuner.engine.placement import share_cores
from tuner.errors import DeviceError, EngineError, StoreError
from tuner.store.files import read_study
from tuner.store.outputs import read_outputs
from tuner.store.records import COMPLETE, FAILED, INTERRUPTED, PRUNED, StudyRecord
from tuner.study import on_ray
from tuner.study.folder import StudyFolder
from tuner.study.study import run_study

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("on_ray")]


def engines_of(study: str) -> set[str]:
    """The names of the engines that a study gets on this machine's cores."""
    count = len(share_cores(cores(), None).threads)
    numbers = [""] if count == 1 else [f"-{number + 1}" for number in range(count)]
    return {f"engine:cpu{number}:{study}" for number in numbers}


def check_truth(record: StudyRecord, folder: Path) -> None:
    """Every report is what the engine says it is, once each, and Optuna's file agrees."""
    for trial in record.trials:
        expected = [score_of(trial.params, trial.seed, r["samples"]) for r in trial.reports]
        assert [r["score"] for r in trial.reports] == expected
        assert len({r["samples"] for r in trial.reports}) == len(trial.reports)
    names = {COMPLETE: "COMPLETE", PRUNED: "PRUNED", FAILED: "FAIL", INTERRUPTED: "WAITING"}
    mirrored = load(folder / "study.db")
    assert [trial.state.name for trial in mirrored] == [names[trial.state] for trial in record.trials]
    assert [trial.intermediate_values for trial in mirrored] == [
        {r["samples"]: r["score"] for r in trial.reports} for trial in record.trials
    ]


def test_a_study_on_ray(tmp_path: Path) -> None:
    here, watcher = os.getcwd(), Watcher()
    record = run_study(make_config(tmp_path, search__trials=20), engine=NULL_ENGINE, observer=watcher)
    assert record.state == COMPLETE
    assert len(record.trials) == 20
    check_truth(record, tmp_path / "s")
    assert {trial.state for trial in record.trials} == {COMPLETE, PRUNED}
    assert {trial.engine for trial in record.trials} <= engines_of("s")
    assert record.winner is not None
    assert record.winner.seeds == 2
    assert (tmp_path / "s" / "best" / "adapter_config.json").is_file()
    outputs = read_outputs(tmp_path / "s")
    assert outputs is not None
    assert (outputs.trial_id, len(outputs.items)) == (record.winner.trial_id, HELD_OUT)
    assert watcher.phases == ["search", "rerun", "export"]
    names = {path.name for path in (tmp_path / "s").iterdir()} - {".lock"}
    assert names == {"config.yaml", "study.json", "rungs.json", "study.db", "logs.txt", "trials", "best", "outputs"}
    assert {path.name for path in (tmp_path / "s" / "trials").iterdir()} == {t.trial_id for t in record.trials}
    assert os.getcwd() == here
    assert "RAY_CHDIR_TO_TRIAL_DIR" not in os.environ


def test_nan_and_trials_that_do_not_fit_fail_alone(tmp_path: Path) -> None:
    rates = {"type": "choice", "values": [0.01, 5.0]}
    space = {**SPACE, "rank": {"type": "choice", "values": [4, 13]}, "learning_rate": rates}
    record = run_study(make_config(tmp_path, space=space, search__trials=12, search__asha=None), engine=NULL_ENGINE)
    for trial in record.trials:
        bad = trial.params["rank"] == 13 or trial.params["learning_rate"] > 1
        assert trial.state == (FAILED if bad else COMPLETE), trial
    check_truth(record, tmp_path / "s")


def test_a_dead_engine_costs_its_trials_a_report_and_no_more(tmp_path: Path) -> None:
    record = run_study(make_config(tmp_path, search__trials=6, search__asha=None), engine=MORTAL_ENGINE)
    assert (tmp_path / "died").exists()
    assert Counter(trial.state for trial in record.trials) == {COMPLETE: 6}
    check_truth(record, tmp_path / "s")
    assert {trial.engine for trial in record.trials} <= engines_of("s")
    log = (tmp_path / "s" / "logs.txt").read_text()
    assert log.count("is started again") == 1


def test_an_engine_that_breaks_is_replaced_like_one_that_died(tmp_path: Path) -> None:
    config = make_config(tmp_path, search__trials=6, search__asha=None)
    record = run_study(config, engine="tests.engine.null_engine:BreakingEngine")
    assert (tmp_path / "broke").exists()
    assert Counter(trial.state for trial in record.trials) == {COMPLETE: 6}
    check_truth(record, tmp_path / "s")
    log = (tmp_path / "s" / "logs.txt").read_text()
    assert log.count("and is started again") == 1


def test_a_disk_that_refuses_ends_the_search_and_is_no_trials_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config(tmp_path, search__trials=12, search__asha=None, search__concurrent=2)
    keep, kept = StudyFolder.save_checkpoint, []

    def full(folder: StudyFolder, *args: Any) -> None:
        if len(kept) >= 9:
            raise StoreError("cannot write it: no space left on device.")
        kept.append(args)
        keep(folder, *args)

    with monkeypatch.context() as patch:
        patch.setattr(StudyFolder, "save_checkpoint", full)
        with pytest.raises(StoreError, match="no space left"):
            run_study(config, engine=NULL_ENGINE)
    left = read_study(tmp_path / "s")
    assert FAILED not in {trial.state for trial in left.trials}
    assert "no space left" in (tmp_path / "s" / "logs.txt").read_text()
    record = run_study(config, engine=NULL_ENGINE, resume=True)
    assert {trial.state for trial in record.trials} == {COMPLETE}
    check_truth(record, tmp_path / "s")


def test_engines_that_keep_dying_end_the_study_which_can_go_on(tmp_path: Path) -> None:
    config = make_config(tmp_path, search__trials=3)
    with pytest.raises(EngineError, match="every engine died"):
        run_study(config, engine="tests.engine.null_engine:DyingEngine")
    record = run_study(config, engine=NULL_ENGINE, resume=True)
    assert record.state == COMPLETE
    check_truth(record, tmp_path / "s")


def test_an_interrupted_study_goes_on(tmp_path: Path) -> None:
    config = make_config(tmp_path, search__trials=10, search__concurrent=4)
    handler = signal.getsignal(signal.SIGINT)
    stopped = run_study(config, engine=SLOW_ENGINE, observer=Watcher(interrupt_after=6))
    assert stopped.state == INTERRUPTED
    check_truth(stopped, tmp_path / "s")
    waiting = [trial for trial in stopped.trials if trial.state == INTERRUPTED]
    assert waiting
    assert signal.getsignal(signal.SIGINT) is handler
    ended = run_study(config, engine=NULL_ENGINE, resume=True)
    assert ended.state == COMPLETE
    assert len(ended.trials) == 10
    check_truth(ended, tmp_path / "s")
    for before in stopped.trials:
        after = ended.trials[before.number]
        assert (after.trial_id, after.params, after.reports[: len(before.reports)]) == (
            before.trial_id,
            before.params,
            before.reports,
        )
    assert not [thread for thread in threading.enumerate() if thread.name in ("trial", "recorder")]


def test_what_an_engine_refuses_is_said_as_it_was_and_leaves_no_study(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="no such thing here"):
        run_study(make_config(tmp_path), engine="tests.engine.null_engine:RefusingEngine")
    assert not (tmp_path / "s").exists()


def test_a_device_that_the_cluster_lacks_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="too few of mps"):
        run_study(make_config(tmp_path, devices=["mps"]), engine=NULL_ENGINE)


@pytest.mark.parametrize("devices", ["auto", ["cuda"]])
def test_a_gpu_that_torch_cannot_use_is_passed_over_where_the_config_leaves_the_choice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, devices: Any
) -> None:
    nodes = [{**node, "Resources": {**node["Resources"], "GPU": 1.0}} for node in on_ray._nodes()]
    monkeypatch.setattr(on_ray, "_nodes", lambda: nodes)
    monkeypatch.setattr(actor, "ray_resources", lambda device, threads: {"CPU": threads})
    config = make_config(tmp_path, search__trials=3, devices=devices)
    if devices == "auto":
        record = run_study(config, engine="tests.engine.null_engine:CpuEngine")
        assert record.state == COMPLETE
        assert {engine["device"] for engine in record.engines} == {"cpu"}
        assert "runs on the CPU. cuda:0 is not there" in (tmp_path / "s" / "logs.txt").read_text()
    else:
        with pytest.raises(DeviceError, match="cuda:0 is not there"):
            run_study(config, engine="tests.engine.null_engine:CpuEngine")


def test_the_thin_trial_imports_no_torch() -> None:
    modules = "tuner.study.trial, tuner.study.on_ray, tuner.study.host, tuner.study.tune_search, cluster.connect"
    program = f"import sys, {modules}"
    check: dict[str, Any] = {"capture_output": True, "text": True, "cwd": Path(__file__).parents[2]}
    done = subprocess.run([sys.executable, "-c", f"{program}; sys.exit('torch' in sys.modules)"], **check)
    assert done.returncode == 0, done.stderr
