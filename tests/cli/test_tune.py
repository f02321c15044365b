"""`tuner tune` from options to files, in process, with an engine that trains nothing."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest

import tuner.study.study
from tests.cli.samples import ctrl_c_at
from tests.engine.null_engine import NULL_ENGINE
from tuner.cli.main import main
from tuner.cli.observers import Observers, Reported, Written
from tuner.store.experiments import open_experiments
from tuner.store.files import read_study

ARGUMENTS = [
    "tune",
    "sentiment",
    "--in-process",
    "--name",
    "mine",
    "--trials",
    "6",
    "--top-k",
    "2",
    "--top-k-seeds",
    "2",
]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to run in, and engines that train nothing."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tuner.study.study, "run_study", partial(tuner.study.study.run_study, engine=NULL_ENGINE))
    return tmp_path


def test_a_study_from_command_to_files(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(ARGUMENTS) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.count(" of 6 done") == 6, "one line a finished trial"
    for part in (
        "mine is complete",
        "Best configuration (trial",
        "adapter       results/mine/best",
        "TensorBoard   results/mine/tensorboard",
        "tensorboard --logdir results/mine/tensorboard",
        "optuna-dashboard sqlite:///results/mine/study.db",
        "--study mine",
    ):
        assert part in out
    study = Path("results/mine")
    record = read_study(study)
    assert record.command == "tuner " + " ".join(ARGUMENTS)
    (page,) = study.glob("reports/training_report_*.html")
    assert f"report        {page}" in out
    assert len(list(study.glob("reports/*"))) == 4
    assert record.name in (study / "best" / "README.md").read_text(encoding="utf-8")
    assert any((study / "tensorboard").rglob("events.out.*"))
    assert [row.name for row in open_experiments(Path("results/experiments.db")).list_studies()] == ["mine"]


def test_quiet_then_a_name_that_is_taken_then_a_file_that_cannot_be_written(
    here: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    assert main([*ARGUMENTS, "--quiet"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("mine is complete")
    assert "Best configuration" in out

    before = Path("results/mine/study.json").read_bytes()
    assert main([*ARGUMENTS, "--quiet"]) == 1
    assert "--resume" in capsys.readouterr().err
    assert Path("results/mine/study.json").read_bytes() == before

    elsewhere = here / "elsewhere"
    (elsewhere / "experiments.db").mkdir(parents=True)
    (elsewhere / "mine").mkdir()
    (elsewhere / "mine" / "reports").touch()
    record = read_study(Path("results/mine"))
    Observers(Written(elsewhere), Reported(elsewhere)).on_end(record)
    assert "the database of experiments could not be written" in caplog.text
    assert "the report could not be written" in caplog.text
    assert (elsewhere / "mine" / "best" / "README.md").is_file()


def test_notes_tell_what_an_option_moved(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*ARGUMENTS, "--rank", "16..32"]) == 0
    assert "Note: start_points[0].rank moves from 8 to 16" in capsys.readouterr().out


def test_every_mistake_before_anything_is_written(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tune", "sentiment", "--trials", "0", "--rank", "0", "--data", "missing.csv"]) == 2
    err = capsys.readouterr().err
    assert "search.trials = 0" in err
    assert "rank" in err
    assert "Traceback" not in err
    assert list(here.iterdir()) == []


def test_ctrl_c_keeps_what_was_trained_and_resume_goes_on(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ctrl_c_at(12, monkeypatch)
    assert main(ARGUMENTS) == 130
    out = capsys.readouterr().out
    assert "mine is interrupted" in out
    assert "tuner tune --resume mine" in out
    kept = {trial.trial_id: trial for trial in read_study(Path("results/mine")).trials if trial.state == "complete"}
    assert main(["tune", "--resume", "mine", "--in-process", "--quiet"]) == 0
    assert "mine is complete" in capsys.readouterr().out
    after = {trial.trial_id: trial for trial in read_study(Path("results/mine")).trials}
    assert len(after) == 6
    assert {trial_id: after[trial_id] for trial_id in kept} == kept


class Broken:
    """An observer that fails at everything."""

    calls = 0

    def __getattr__(self, name: str) -> Any:
        def fail(*args: object) -> None:
            Broken.calls += 1
            raise RuntimeError("no")

        return fail


def test_a_broken_observer_is_dropped_and_the_others_go_on() -> None:
    seen: list[str] = []

    class Listening:
        def __getattr__(self, name: str) -> Any:
            return lambda *args: seen.append(name)

    observers = Observers(Broken(), Listening())
    observers.on_phase("rerun")
    observers.on_phase("export")
    assert (Broken.calls, seen) == (1, ["on_phase", "on_phase"])
