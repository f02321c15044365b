"""`tuner run`: the whole round in process, with an engine that trains nothing, and what it does when a stage fails."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import tuner.report.training_report
import tuner.study.study
from tests.cli.samples import ctrl_c_at
from tests.engine.null_engine import NULL_ENGINE
from tuner.cli.main import main
from tuner.errors import StoreError
from tuner.store.files import read_study
from tuner.store.outputs import read_outputs
from tuner.tasks.sentiment import predict

ARGUMENTS = ["run", "sentiment", "--in-process", "--quiet", "--name", "mine", "--trials", "6", "--top-k-seeds", "2"]
STAGES = ["tune", "infer", "analyse", "report", "alerts", "advice"]


class Answers:
    """A predictor that has learnt by heart what the null engine answers."""

    def __init__(self, adapter: Path) -> None:
        outputs = read_outputs(adapter.parent)
        assert outputs is not None
        self.answers = {item.input: item.answer for item in outputs.items}

    def predict(self, inputs: Sequence[str]) -> list[dict[str, Any]]:
        return [{"name": self.answers[text]} for text in inputs]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to run in, engines that train nothing, and a predictor that answers as they do."""
    from tuner.tasks.sentiment.task import SentimentTask

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tuner.study.study, "run_study", partial(tuner.study.study.run_study, engine=NULL_ENGINE))
    monkeypatch.setattr(SentimentTask, "predictor", Answers)
    assert predict.BATCH  # the module whose class is replaced is the one that answers
    return tmp_path


def test_the_whole_round(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(ARGUMENTS) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert [out.index(f"[{n}/6] {stage}") for n, stage in enumerate(STAGES, 1)] == sorted(
        out.index(f"[{n}/6] {stage}") for n, stage in enumerate(STAGES, 1)
    )
    assert "answers" in out
    assert f"Worked: {', '.join(STAGES)}" in out
    assert "Failed" not in out
    assert len(list(Path("results/mine/reports").iterdir())) == 4
    assert read_study(Path("results/mine")).command == "tuner " + " ".join(ARGUMENTS)


def test_a_stage_that_fails_is_named_and_the_others_go_on(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise StoreError("cannot write the page: the disk is full.")

    monkeypatch.setattr(tuner.report.training_report, "write_report", refuse)
    monkeypatch.setattr(Answers, "predict", lambda self, inputs: [{"name": "?"} for _ in inputs])
    assert main(ARGUMENTS) == 1
    out, err = capsys.readouterr()
    assert "Traceback" not in out + err
    assert "Worked: tune, analyse, alerts, advice" in out
    assert "Failed: infer: fewer than 90%" in out
    assert "Failed: report: cannot write the page: the disk is full." in out


def test_a_study_that_trains_nothing_is_not_asked_to_answer_again(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from tuner.cli import run

    tuned = run.tune

    def untrained(*given: Any, **named: Any) -> Any:
        record = tuned(*given, **named)
        return replace(record, data={**record.data, "trains": False})

    monkeypatch.setattr(run, "tune", untrained)
    monkeypatch.setattr(Answers, "predict", lambda self, inputs: [{"name": "?"} for _ in inputs])
    assert main(ARGUMENTS) == 0
    out = capsys.readouterr().out
    assert "Worked: tune, analyse, report, alerts, advice" in out
    assert "Skipped: infer: study mine trained nothing" in out
    assert "do not use it" not in out


def test_a_fault_of_the_program_in_one_stage_stops_no_other(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tuner.report.training_report, "write_report", lambda *_: 1 / 0)
    assert main(ARGUMENTS) == 1
    out, err = capsys.readouterr()
    assert "Traceback" not in out + err
    assert "Failed: report: an unexpected error, ZeroDivisionError" in out
    assert "advice" in out.partition("Worked: ")[2].partition("\n")[0]
    with pytest.raises(ZeroDivisionError):
        main([*ARGUMENTS[:-5], "again", "--trials", "2", "--debug"])


def test_a_search_in_which_every_trial_fails_is_still_analysed(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*ARGUMENTS, "--learning-rate", "2.0", "--epochs", "2"]) == 1
    out, err = capsys.readouterr()
    assert "Traceback" not in out + err
    assert "Failed: tune: no trial finished" in out
    assert "Failed: infer:" in out
    assert "trials that ended failed" in out or "failed" in out
    assert "analyse, report, alerts, advice" in out.partition("Worked: ")[2]


def test_a_name_that_is_taken_leaves_that_study_alone(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(ARGUMENTS) == 0
    before = sorted(Path("results/mine").rglob("*"))
    capsys.readouterr()
    assert main(ARGUMENTS) == 1
    out, err = capsys.readouterr()
    assert "exists already" in err
    assert "infer" not in out
    assert sorted(Path("results/mine").rglob("*")) == before


def test_ctrl_c_ends_the_round(here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    ctrl_c_at(5, monkeypatch)
    assert main(ARGUMENTS) == 130
    out = capsys.readouterr().out
    assert "tuner tune --resume mine" in out
    assert "[2/6]" not in out


def test_wrong_options_end_before_anything(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "sentiment", "--trials", "0"]) == 2
    assert main([*ARGUMENTS, "--data", "missing.csv"]) in (1, 2)
    err = capsys.readouterr().err
    assert "search.trials = 0" in err
    assert "missing.csv" in err
    assert list(here.glob("results/*/study.json")) == []
