"""`tuner advise`: the advice as a person reads it, and the config of the next round."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from tests.report.test_rounds import texts
from tests.store.factory import CONFIG, study
from tuner.cli import study_options
from tuner.cli.main import main, verb_parser
from tuner.config import StudyConfig
from tuner.store.files import write_study
from tuner.store.outputs import write_outputs
from tuner.store.records import RUNNING, StudyRecord


def save(record: StudyRecord, results: str = "results") -> Path:
    """The study's folder."""
    folder = Path(results) / record.name
    write_study(folder, record)
    return folder


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a finished study with its outputs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")
    made = save(study(40))
    write_outputs(made, texts(0.4, 20))
    return made


def test_rules_of_thumb_stand_beside_the_evidence(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["advise"]) == 0
    out = capsys.readouterr().out
    flat = " ".join(out.split())
    assert "rule of thumb" in out
    assert "what the trials say" in out
    assert "Total loss 0.460: above 0.4" in flat
    assert "he best 9 of 39 trials" in flat
    assert "total loss 0.460 0.300" in flat
    assert "embedding kept (cosine to the base) 0.500 0.550" in flat
    assert "Another round is worth it." in out
    assert "- Probability of the right label: 0.400, and should be at least 0.8." in out
    assert "+ Overall score:" in out
    assert "tuner advise reviews --apply" in out
    assert not (folder / "next_round.yaml").exists()


@pytest.mark.parametrize("width", ["80", "120", "240"])
def test_the_table_suits_the_width(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, width: str
) -> None:
    monkeypatch.setenv("COLUMNS", width)
    main(["advise"])
    out = capsys.readouterr().out
    table = out[: out.index("target of the next round")]
    assert max(map(len, table.splitlines())) <= int(width)


def test_apply_writes_a_config_and_the_command_that_runs_it(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["advise", "reviews", "--apply"]) == 0
    out = capsys.readouterr().out
    assert f"Wrote {folder / 'next_round.yaml'}: changes " in out
    command = shlex.split(out.splitlines()[-1])
    assert command == ["tuner", "tune", "sentiment", "--config", "results/reviews/next_round.yaml"]
    config = study_options.load(verb_parser("tune").parse_args(command[2:]))
    assert config.space != StudyConfig.model_validate(CONFIG).space
    before = (folder / "next_round.yaml").read_text()
    assert main(["advise", "reviews", "--apply"]) == 2
    error = capsys.readouterr().err
    assert "--apply = 'results/reviews/next_round.yaml': the file is there already. Name another" in error
    assert (folder / "next_round.yaml").read_text() == before
    assert main(["advise", "reviews", "--apply", "mine.yaml"]) == 0
    assert Path("mine.yaml").read_text() == before


def test_a_study_where_the_file_belongs_is_told(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["advise", "--apply", folder.name]) == 2
    assert f"tuner advise {folder.name} --apply" in capsys.readouterr().err
    assert not Path(folder.name).exists()


def test_a_file_called_like_the_default_lies_where_it_is_named(folder: Path) -> None:
    assert main(["advise", folder.name, "--apply", "next_round.yaml"]) == 0
    assert Path("next_round.yaml").is_file()
    assert not (folder / "next_round.yaml").exists()


def test_results_elsewhere_stand_in_the_command(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save(study(40), "my results")
    assert main(["advise", "--results", "my results", "--apply"]) == 0
    command = shlex.split(capsys.readouterr().out.splitlines()[-1])
    assert command[-2:] == ["--results", "my results"]
    assert study_options.load(verb_parser("tune").parse_args(command[2:])).results == Path("my results")
    assert main(["advise", "--results", "my results"]) == 0
    assert "tuner advise reviews --results 'my results' --apply" in capsys.readouterr().out


def test_json_has_the_reports_shape(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["advise", "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert list(found) == ["study", "advice", "targets", "convergence", "config", "command"]
    assert (found["study"], found["config"], found["command"]) == ("reviews", None, None)
    rate = next(each for each in found["advice"] if each["hyperparameter"] == "learning_rate")
    assert rate["rule_of_thumb"] == 5e-4
    assert found["convergence"]["converged"] is False
    assert main(["advise", "--json", "--apply", "next.yaml"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["config"] == "next.yaml"
    assert found["command"] == "tuner tune sentiment --config next.yaml"


def test_a_study_with_too_few_trials_says_so(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save(study(1, name="one", created=5000.0, state=RUNNING, winner=None, reruns=(), finished=None))
    assert main(["advise", "one", "--apply"]) == 0
    out = capsys.readouterr().out
    assert "Too few to tell: 1 trial has a score" in " ".join(out.split())
    assert "Total loss: not measured, so the rule says nothing." in " ".join(out.split())
    assert "next_round.yaml: the space stays as it is. Run it:" in out


def test_a_study_without_a_score_has_no_next_round(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    empty = save(study(trials=0, name="empty", created=5000.0, winner=None, state=RUNNING, finished=None))
    assert main(["advise"]) == 0
    out = capsys.readouterr().out
    assert "0 trials have a score" in " ".join(out.split())
    assert "nan" not in out
    assert "Overall score: not measured, and should be at least 0.7." in out
    assert main(["advise", "--apply"]) == 1
    assert "study empty has no trial with a score, so there is nothing to go on from." in capsys.readouterr().err
    assert not (empty / "next_round.yaml").exists()


def test_without_a_study_there_is_no_advice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["advise"]) == 1
    assert "there is no study in results" in capsys.readouterr().err
