"""Whole studies on the null engine, in process: record, files, database, truth, interruption, resuming, refusals."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.engine.null_engine import HELD_OUT, NULL_ENGINE, ROWS, SLOW_ENGINE, score_of
from tests.study.factory import SPACE, START, make_config
from tests.study.test_database import load
from tuner import tasks
from tuner.config import StudyConfig
from tuner.engine.contract import EngineInfo, Report
from tuner.engine.pool import Stopped
from tuner.errors import ConfigError, StoreError, StudyError, TrialError
from tuner.store.files import read_study, write_study
from tuner.store.outputs import read_outputs
from tuner.store.records import COMPLETE, FAILED, INTERRUPTED, PRUNED, Rerun, StudyRecord, TrialRecord
from tuner.study import recorder
from tuner.study.folder import StudyFolder
from tuner.study.in_process import InProcess
from tuner.study.rerun import choose_winner
from tuner.study.resume import check_data
from tuner.study.study import _held_out, run_study


class Watcher:
    """Notes all that it is told; interrupts the study after so many reports."""

    def __init__(self, interrupt_after: int | None = None) -> None:
        self.events: list[str] = []
        self.phases: list[str] = []
        self.reports = 0
        self.interrupt_after = interrupt_after

    def on_start(self, record: StudyRecord) -> None:
        self.events.append("start")

    def on_phase(self, phase: str) -> None:
        self.phases.append(phase)

    def on_report(self, trial: TrialRecord, report: Report) -> None:
        self.reports += 1
        if self.reports == self.interrupt_after:
            os.kill(os.getpid(), signal.SIGINT)

    def on_trial_end(self, trial: TrialRecord) -> None:
        self.events.append(f"{trial.trial_id} {trial.state}")

    def on_end(self, record: StudyRecord) -> None:
        self.events.append(f"end {record.state}")


def run(config: StudyConfig, **settings: Any) -> StudyRecord:
    return run_study(config, **{"in_process": True, "engine": NULL_ENGINE, **settings})


def outcome(record: StudyRecord) -> list[tuple[Any, ...]]:
    """What must be the same for the same seed: all but the time."""
    reports = [[{k: v for k, v in report.items() if k != "time"} for report in t.reports] for t in record.trials]
    return [(t.trial_id, t.params, t.seed, t.state, own, t.best) for t, own in zip(record.trials, reports, strict=True)]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[StudyRecord, Path, Watcher]:
    """A study of 16 trials that tests only read."""
    results, watcher = tmp_path_factory.mktemp("results"), Watcher()
    path = tasks.__path__
    tasks.__path__ = [*path, str(Path(__file__).parent / "tasks")]
    try:
        record = run(make_config(results, search__trials=16), observer=watcher, command="tuner tune nothing")
    finally:
        tasks.__path__ = path
    return record, results / "s", watcher


def test_the_record_tells_what_happened(finished: tuple[StudyRecord, Path, Watcher]) -> None:
    record, folder, watcher = finished
    assert record.state == COMPLETE
    assert record.finished is not None
    assert record.command == "tuner tune nothing"
    assert record.data["warnings"] == ["nothing is trained"]
    assert record.engines[0]["device"] == "cpu"
    assert {"python", "optuna"} <= set(record.versions)
    assert [trial.trial_id for trial in record.trials] == [f"t{i:04d}" for i in range(16)]
    assert {name: record.trials[0].params[name] for name in START} == START
    states = Counter(trial.state for trial in record.trials)
    assert set(states) == {COMPLETE, PRUNED}
    for trial in record.trials:
        assert trial.best is not None
        expected = [score_of(trial.params, trial.seed, r["samples"]) for r in trial.reports]
        assert [r["score"] for r in trial.reports] == expected
        if trial.state == COMPLETE:
            assert trial.reports[-1]["samples"] == trial.params["epochs"] * ROWS
        else:
            assert "rung" in trial.message
        times = [r["time"] for r in trial.reports]
        assert times == sorted(times)
        assert 0 <= times[0] <= times[-1] <= record.finished - record.created + 0.001  # times are whole milliseconds
    assert read_study(folder) == record
    assert watcher.phases == ["search", "rerun", "export"]
    assert watcher.events[0] == "start"
    assert watcher.events[-1] == "end complete"
    assert watcher.reports > sum(len(trial.reports) for trial in record.trials)


def test_the_winner_is_chosen_on_the_mean_of_fresh_seeds(finished: tuple[StudyRecord, Path, Watcher]) -> None:
    record, folder, _ = finished
    assert record.winner is not None
    runs = [each for each in record.reruns if each.trial_id == record.winner.trial_id]
    scores = [each.validation["score"] for each in runs]
    assert len(runs) == record.winner.seeds == 2
    assert record.winner.score == pytest.approx(sum(scores) / 2)
    means: dict[str, list[float]] = {}
    for each in record.reruns:
        means.setdefault(each.trial_id, []).append(each.validation["score"])
    assert record.winner.score == pytest.approx(max(sum(each) / len(each) for each in means.values()))
    assert record.winner.interval is not None
    assert record.winner.interval[0] < record.winner.score < record.winner.interval[1]
    assert not {each.seed for each in record.reruns} & {trial.seed for trial in record.trials}
    assert record.winner.test["score"] == pytest.approx(record.winner.score - 0.01)
    exported = json.loads((folder / "best" / "adapter_config.json").read_text())
    assert exported["score"] == max(scores)
    assert exported["params"] == record.winner.params


def test_its_files_are_there_and_no_others(finished: tuple[StudyRecord, Path, Watcher]) -> None:
    record, folder, _ = finished
    names = {path.name for path in folder.iterdir()} - {".lock"}
    assert names == {"config.yaml", "study.json", "rungs.json", "study.db", "logs.txt", "trials", "best", "outputs"}
    assert yaml.safe_load((folder / "config.yaml").read_text())["task"] == "nothing"
    for trial in record.trials:
        place = folder / "trials" / trial.trial_id
        assert yaml.safe_load((place / "config.yaml").read_text())["params"] == trial.params
        assert json.loads((place / "metrics.json").read_text())["state"] == trial.state
        indices = {int(path.name[-4:]) for path in place.glob("checkpoint-*")}
        assert indices == {trial.best, len(trial.reports) - 1}
        newest = json.loads((place / f"checkpoint-{max(indices):04d}" / "state.safetensors").read_bytes())
        assert newest["samples"] == trial.reports[-1]["samples"]
    assert "phase: export" in (folder / "logs.txt").read_text()


def test_it_leaves_what_the_winner_answers_to_held_out_rows(finished: tuple[StudyRecord, Path, Watcher]) -> None:
    record, folder, _ = finished
    outputs = read_outputs(folder)
    assert outputs is not None
    assert record.winner is not None
    # the task says of no split how many rows it has
    assert (outputs.trial_id, outputs.split) == (record.winner.trial_id, "validation")
    assert [item.input for item in outputs.items] == [f"validation row {number + 1}" for number in range(HELD_OUT)]
    kept = json.loads((folder / "best" / "adapter_config.json").read_text())
    assert outputs.items[0].metrics["quality"] == pytest.approx(kept["score"] - 0.01)


def test_as_many_outputs_as_the_config_asks_for(tmp_path: Path) -> None:
    run(make_config(tmp_path, search__trials=2, benchmark={"items": 2}))
    outputs = read_outputs(tmp_path / "s")
    assert outputs is not None
    assert [item.name for item in outputs.items] == ["nothing_1", "nothing_2"]


@pytest.mark.parametrize(
    ("data", "split"),
    [
        ({}, "validation"),
        ({"splits": {"train": {"total_samples": 9}}}, "validation"),
        ({"splits": {"test": {"total_samples": 0}}}, "validation"),
        ({"splits": {"test": {"total_samples": 1}}}, "test"),
    ],
)
def test_answers_are_shown_on_rows_that_no_choice_was_made_on_if_there_are_any(
    data: dict[str, Any], split: str
) -> None:
    assert _held_out(data) == split


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (TrialError("out_of_memory", "it does not fit in memory, even alone"), "it does not fit in memory, even alone"),
        (ValueError("five rows"), "ValueError: five rows"),
    ],
)
def test_outputs_that_cannot_be_had_cost_the_study_nothing_but_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception, said: str
) -> None:
    run(make_config(tmp_path, search__trials=2))
    assert read_outputs(tmp_path / "s") is not None

    def fail(runner: InProcess, *args: Any) -> list[Any]:
        raise error

    monkeypatch.setattr(InProcess, "outputs", fail)
    record = run(make_config(tmp_path, search__trials=4), resume=True)
    assert record.state == COMPLETE
    assert record.winner is not None
    assert (tmp_path / "s" / "best" / "adapter_config.json").is_file()
    assert read_outputs(tmp_path / "s") is None, "those of the adapter before are not this one's"
    (warning,) = (each for each in caplog.records if each.levelname == "WARNING" and "held-out" in each.message)
    assert warning.message.endswith(f"was not saved: {said}")
    assert warning.exc_info is None


@pytest.mark.parametrize("error", [Stopped(), KeyboardInterrupt()])
def test_an_interruption_while_the_winner_answers_is_one_like_any_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def stop(runner: InProcess, *args: Any) -> list[Any]:
        raise error

    config = make_config(tmp_path, search__trials=3)
    with monkeypatch.context() as patch:
        patch.setattr(InProcess, "outputs", stop)
        stopped = run(config)
    assert stopped.state == INTERRUPTED
    ended = run(config, resume=True)
    assert ended.state == COMPLETE
    assert ended.winner == stopped.winner
    assert read_outputs(tmp_path / "s") is not None


def test_measures_that_the_task_does_not_have_are_refused_before_anything_starts(tmp_path: Path) -> None:
    config = make_config(
        tmp_path, benchmark={"preset": "best"}, alerts={"below": {"qualty": 0.5}}, rounds={"converged": {"ssim": 0.5}}
    )
    with pytest.raises(ConfigError) as caught:
        run(config)
    assert {problem.name for problem in caught.value.problems} == {
        "benchmark.preset",
        "alerts.below.qualty",
        "rounds.converged.ssim",
    }
    assert list(tmp_path.iterdir()) == []


def test_optuna_reads_the_same_from_the_database(finished: tuple[StudyRecord, Path, Watcher]) -> None:
    record, folder, _ = finished
    trials = load(folder / "study.db")
    assert [trial.state.name.lower() for trial in trials] == [trial.state for trial in record.trials]
    for mirrored, trial in zip(trials, record.trials, strict=True):
        assert mirrored.intermediate_values == {r["samples"]: r["score"] for r in trial.reports}
        assert mirrored.params.items() <= trial.params.items()
        if trial.state == COMPLETE:
            assert mirrored.value == trial.score


def test_the_same_seed_gives_the_same_study(finished: tuple[StudyRecord, Path, Watcher], tmp_path: Path) -> None:
    again = run(make_config(tmp_path, search__trials=16))
    assert outcome(again) == outcome(finished[0])
    assert again.winner == finished[0].winner
    assert outcome(run(make_config(tmp_path, name="other", search__trials=16, search__seed=1))) != outcome(again)


def test_nan_and_trials_that_do_not_fit_fail_alone(tmp_path: Path) -> None:
    space = {
        **SPACE,
        "rank": {"type": "choice", "values": [4, 13]},
        "learning_rate": {"type": "choice", "values": [0.01, 5.0]},
    }
    record = run(make_config(tmp_path, space=space, search__trials=12, search__asha=None))
    for trial in record.trials:
        bad = trial.params["rank"] == 13 or trial.params["learning_rate"] > 1
        assert trial.state == (FAILED if bad else COMPLETE)
        if trial.params["rank"] == 13:
            assert "out_of_memory" in trial.message
        elif bad:
            assert "nan" in trial.message
            assert "learning rate" in trial.message
    states = Counter(trial.state for trial in record.trials)
    assert Counter(trial.state.name for trial in load(tmp_path / "s" / "study.db")) == {
        "COMPLETE": states[COMPLETE],
        "FAIL": states[FAILED],
    }


def test_a_study_in_which_nothing_finishes_says_so_and_is_kept(tmp_path: Path) -> None:
    space = {**SPACE, "rank": 13}
    with pytest.raises(StudyError, match="rank 13 does not fit"):
        run(make_config(tmp_path, space=space, search__trials=3))
    assert read_study(tmp_path / "s").state == FAILED


@pytest.mark.parametrize("after", [1, 5, 12])
def test_an_interrupted_study_goes_on_where_it_was(tmp_path: Path, after: int) -> None:
    config = make_config(tmp_path, search__trials=10, search__concurrent=4)
    stopped = run(config, observer=Watcher(after))
    assert stopped.state == INTERRUPTED
    assert read_study(tmp_path / "s") == stopped
    waiting = [trial.trial_id for trial in stopped.trials if trial.state == INTERRUPTED]
    states = [trial.state.name for trial in load(tmp_path / "s" / "study.db")]
    assert [i for i, state in enumerate(states) if state == "WAITING"] == [int(name[1:]) for name in waiting]
    assert waiting

    ended = run(config, resume=True)
    assert ended.state == COMPLETE
    assert len(ended.trials) == 10
    assert ended.created == stopped.created
    for before, after_ in zip(stopped.trials, ended.trials, strict=False):
        assert (after_.trial_id, after_.params, after_.seed) == (before.trial_id, before.params, before.seed)
        assert after_.reports[: len(before.reports)] == before.reports
        if before.state != INTERRUPTED:
            assert after_ == before
    for trial in ended.trials:
        expected = [score_of(trial.params, trial.seed, r["samples"]) for r in trial.reports]
        assert [r["score"] for r in trial.reports] == expected
        assert len({r["samples"] for r in trial.reports}) == len(trial.reports)
    states = [trial.state.name.lower() for trial in load(tmp_path / "s" / "study.db")]
    assert states == [trial.state for trial in ended.trials]


def test_rungs_outlive_an_interruption(tmp_path: Path) -> None:
    config = make_config(tmp_path, search__trials=10, search__concurrent=4)
    run(config, observer=Watcher(6))
    before = json.loads((tmp_path / "s" / "rungs.json").read_text())["rungs"]
    run(config, resume=True)
    after = json.loads((tmp_path / "s" / "rungs.json").read_text())["rungs"]
    assert before["0"]
    assert before["0"].items() <= after["0"].items()


def test_an_interruption_of_the_reruns_keeps_those_that_ended(tmp_path: Path) -> None:
    config = make_config(tmp_path, search__trials=4, search__asha=None)
    whole = run(make_config(tmp_path, name="whole", search__trials=4, search__asha=None))
    searched = sum(len(trial.reports) for trial in whole.trials)
    stopped = run(config, observer=Watcher(searched + 1))
    assert stopped.state == INTERRUPTED
    assert all(trial.state == COMPLETE for trial in stopped.trials)
    ended = run(config, resume=True)
    assert ended.winner == whole.winner
    assert len(ended.reruns) == len(whole.reruns)


def interrupted(runner: InProcess) -> list[EngineInfo]:
    """In place of `start`: the engines come up until the user has had enough."""
    raise Stopped


def test_an_interruption_while_the_engines_come_up_is_one_like_any_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config(tmp_path, search__trials=3)
    with monkeypatch.context() as patch:
        patch.setattr(InProcess, "start", interrupted)
        assert run(config).state == INTERRUPTED
    assert run(config, resume=True).state == COMPLETE


def test_an_interruption_while_the_engines_come_up_again_keeps_the_rungs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config(tmp_path, search__trials=10, search__concurrent=4)
    run(config, observer=Watcher(6))
    before = (tmp_path / "s" / "rungs.json").read_bytes()
    monkeypatch.setattr(InProcess, "start", interrupted)
    run(config, resume=True)
    assert (tmp_path / "s" / "rungs.json").read_bytes() == before


def test_what_a_crash_left_of_a_trial_that_was_never_recorded_is_not_taken_up(tmp_path: Path) -> None:
    config = make_config(tmp_path, search__trials=4, search__asha=None)
    run(config, observer=Watcher(1))
    record = read_study(tmp_path / "s")
    kept = replace(record, trials=record.trials[:1])
    write_study(tmp_path / "s", kept)  # as it was saved before the later trials began
    foreign = json.dumps({"index": 7, "samples": 10_000, "best": 99.0}).encode()
    for number in range(1, 4):
        StudyFolder(tmp_path / "s").save_checkpoint(f"t{number:04d}", 7, 99.0, foreign)
    ended = run(config, resume=True)
    assert len(ended.trials) == 4
    for trial in ended.trials:
        assert [r["score"] for r in trial.reports] == [
            score_of(trial.params, trial.seed, r["samples"]) for r in trial.reports
        ]
    assert [trial.params for trial in load(tmp_path / "s" / "study.db")] == [
        {name: trial.params[name] for name in ("rank", "learning_rate", "epochs")} for trial in ended.trials
    ]


def test_study_json_is_written_while_the_best_are_trained_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "FLUSH_EVERY", 0.01)
    monkeypatch.setattr(recorder, "SAVE_EVERY", 0.01)
    saved: list[StudyRecord] = []

    class Reading(Watcher):
        def on_trial_end(self, trial: TrialRecord) -> None:
            if "seed" in trial.trial_id:
                time.sleep(0.5)
                saved.append(read_study(tmp_path / "s"))

    run(make_config(tmp_path, search__trials=4, search__asha=None), observer=Reading())
    assert [len(record.reruns) for record in saved] == [1, 2, 3, 4]
    assert {trial.state for trial in saved[0].trials} == {COMPLETE}


def test_rows_that_changed_end_a_resumption(tmp_path: Path) -> None:
    run(make_config(tmp_path, search__trials=3), observer=Watcher(1))
    record = replace(read_study(tmp_path / "s"), data={"fingerprints": {"train": "a", "validation": "b"}})
    check_data(record, {"fingerprints": {"train": "a", "validation": "b"}})
    check_data(record, {})
    with pytest.raises(StudyError, match="its validation rows have changed since"):
        check_data(record, {"fingerprints": {"train": "a", "validation": "c"}})


def test_a_configuration_that_failed_from_some_seeds_does_not_win(tmp_path: Path) -> None:
    config = make_config(tmp_path, search__top_k_seeds=3)
    trials = [TrialRecord(name, number, {}, 0) for number, name in enumerate(("lucky", "solid"))]
    reruns = [Rerun("lucky", 1, {"score": 0.9}, {})]
    reruns += [Rerun("solid", seed, {"score": 0.7}, {}) for seed in range(3)]
    winner, _ = choose_winner(config, tasks.spec("nothing"), trials, reruns)
    assert winner.trial_id == "solid"


def test_a_finished_study_says_so_and_goes_on_if_more_trials_are_asked_for(tmp_path: Path) -> None:
    first = run(make_config(tmp_path, search__trials=4))
    with pytest.raises(StudyError, match=r"finished, with 4 trials.*--trials"):
        run(make_config(tmp_path, search__trials=4), resume=True)
    more = run(make_config(tmp_path, search__trials=7), resume=True)
    assert len(more.trials) == 7
    assert more.trials[:4] == first.trials
    assert more.state == COMPLETE


def test_what_must_not_change_may_not_change(tmp_path: Path) -> None:
    run(make_config(tmp_path, search__trials=3), observer=Watcher(1))
    with pytest.raises(StudyError, match=r"rank was .* and is now"):
        run(make_config(tmp_path, space={**SPACE, "rank": 4}, search__trials=3), resume=True)
    with pytest.raises(StudyError, match="another base_model"):
        run(make_config(tmp_path, base_model="other", search__trials=3), resume=True)
    with pytest.raises(StudyError, match=r"another search\.seed"):
        run(make_config(tmp_path, search__trials=3, search__seed=9), resume=True)


def test_a_name_that_is_taken_is_refused_and_nothing_is_lost(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "mine.txt").write_text("keep")
    with pytest.raises(StudyError, match="exists already"):
        run(make_config(tmp_path))
    assert [path.name for path in (tmp_path / "s").iterdir()] == ["mine.txt"]


def test_resuming_what_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="there is no study"):
        run(make_config(tmp_path), resume=True)


def test_results_that_cannot_be_written_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot write there"):
        run(make_config(tmp_path / "file" / "results"))


def test_an_engine_that_does_not_come_up_leaves_no_study(tmp_path: Path) -> None:
    with pytest.raises(ModuleNotFoundError):
        run(make_config(tmp_path), engine="tests.engine.missing:Engine")
    assert not (tmp_path / "s").exists()


def test_a_study_that_runs_elsewhere_is_not_resumed(tmp_path: Path) -> None:
    config = make_config(tmp_path, search__trials=2)
    refused: list[str] = []

    class Second(Watcher):
        def on_phase(self, phase: str) -> None:
            try:
                run(config, resume=True)
            except StudyError as error:
                refused.append(str(error))

    run(config, observer=Second())
    assert len(refused) == 3
    assert "running in another process" in refused[0]


def test_an_observer_that_fails_does_not_cost_the_study(tmp_path: Path) -> None:
    class Broken(Watcher):
        def on_report(self, trial: TrialRecord, report: Report) -> None:
            raise RuntimeError("cannot draw")

    assert run(make_config(tmp_path, search__trials=2), observer=Broken()).state == COMPLETE
    assert "cannot draw" in (tmp_path / "s" / "logs.txt").read_text()


def test_the_time_budget_stops_launching(tmp_path: Path) -> None:
    config = make_config(tmp_path, search__trials=500, search__time_budget_minutes=0.005, search__concurrent=1)
    record = run(config, engine=SLOW_ENGINE)
    assert record.state == COMPLETE
    assert 1 <= len(record.trials) < 50


def test_a_study_without_a_name_gets_one_that_says_what_it_is(tmp_path: Path) -> None:
    config = make_config(tmp_path, name=None, base_model="org/Base Model", search__trials=1)
    record = run(config)
    assert record.name.startswith("nothing-Base-Model-2")
    assert (tmp_path / record.name / "study.json").is_file()


def test_a_study_in_another_thread_than_the_main_one(tmp_path: Path) -> None:
    found: list[StudyRecord] = []
    thread = threading.Thread(target=lambda: found.append(run(make_config(tmp_path, search__trials=2))))
    thread.start()
    thread.join()
    assert found[0].state == COMPLETE


def test_neither_ray_nor_torch_is_imported_in_process(tmp_path: Path) -> None:
    program = f"""
import sys
from pathlib import Path
from tuner import tasks
tasks.__path__.append({str(Path(__file__).parent / "tasks")!r})
from tests.study.factory import make_config
from tuner.study.study import run_study
run_study(make_config(Path({str(tmp_path)!r}), search__trials=2), in_process=True, engine={NULL_ENGINE!r})
assert "ray" not in sys.modules and "torch" not in sys.modules, "too much is imported"
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=Path(__file__).parents[2]
    )
    assert done.returncode == 0, done.stderr


def test_scores_are_finite(finished: tuple[StudyRecord, Path, Watcher]) -> None:
    assert all(math.isfinite(report["score"]) for trial in finished[0].trials for report in trial.reports)
