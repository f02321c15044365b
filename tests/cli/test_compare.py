"""`tuner compare`: rounds of a series, named studies, and base models, with a verdict and a chart."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.report.test_rounds import other_data, texts
from tests.store.factory import study
from tuner.cli.compare import verdict
from tuner.cli.main import main
from tuner.report.rounds import Round
from tuner.store.files import write_study
from tuner.store.outputs import Outputs, write_outputs
from tuner.store.records import RUNNING, StudyRecord


def save(record: StudyRecord, outputs: Outputs | None = None) -> None:
    """The study among the results."""
    folder = Path("results") / record.name
    write_study(folder, record)
    if outputs is not None:
        write_outputs(folder, outputs)


def scored(name: str, created: float, score: float, **changes: Any) -> StudyRecord:
    """A finished study with that score, and an interval of 0.01 to each side."""
    record = study(name=name, created=created, **changes)
    assert record.winner is not None
    return replace(record, winner=replace(record.winner, score=score, interval=(score - 0.01, score + 0.01)))


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A results folder with a series of three, and one study on another base."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")
    save(scored("first", 1000.0, 0.6), texts(0.4))
    save(scored("second", 2000.0, 0.66), texts(0.8))
    save(scored("third", 3000.0, 0.65), texts(0.6))
    save(scored("large", 1500.0, 0.9, base_model="roberta-base"))
    return Path("results")


def test_the_newest_studys_series(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare"]) == 0
    out = capsys.readouterr().out
    table = [line.split() for line in out.splitlines()[:4]]
    assert " ".join(table[0]) == "round study overall change total loss change certainty accuracy preservation"
    assert table[1] == ["1", "first", "0.6000", "-", "0.4600", "-", "0.4000", "1.0000", "0.5000"]
    assert table[2] == [
        "2", "second", "0.6600", "+10.0", "%", "0.2200", "-52.2", "%", "0.8000", "1.0000", "0.5000"
    ]  # fmt: skip
    assert table[3][1] == "third"
    assert "Best: round 2, second, with an overall score of 0.6600 (95 % interval 0.6500 to 0.6700)." in out
    assert "Its interval overlaps that of round 3, the next best: the difference may be chance." in out
    assert "All rounds were measured alike, so their numbers can be compared." in out
    assert "large" not in out, "another base is another series"
    assert "base model" not in out
    assert "The chart: results/rounds.png" in out
    assert (results / "rounds.png").read_bytes().startswith(b"\x89PNG")


def test_named_studies_come_in_the_order_of_their_age(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "large", "first", "large", "--chart", "mine.png"]) == 0
    out = capsys.readouterr().out
    assert [line.split()[:2] for line in out.splitlines()[1:3]] == [["1", "first"], ["2*", "large"]]
    assert "Its interval lies above that of round 1" in out
    assert "Not all rounds were measured alike, so which is best is no more than a hint:" in out
    assert "Round 2: Not measured as round 1 was: base model roberta-base in place of minilm" in out
    bases = [line.split() for line in out.splitlines() if line.startswith(("roberta-base", "minilm"))]
    assert bases[0][:3] == ["roberta-base", "1", "0.9000"], "the best base first"
    assert bases[1][:3] == ["minilm", "1", "0.6000"]
    assert bases[1][-2:] == ["5", "min"]
    assert Path("mine.png").exists()
    assert not (results / "rounds.png").exists()


@pytest.mark.parametrize("name", ["roberta", "roberta-base"])
def test_a_base_model_by_its_short_name(results: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    save(scored("larger", 2500.0, 0.91, base_model="roberta-base", data=other_data(validation="00")))
    assert main(["compare", "--base-model", name, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [each["study"] for each in found["rounds"]] == ["large", "larger"]
    assert found["rounds"][0]["total_loss"] is None, "what was not measured is null"
    assert found["rounds"][1]["comparable"] is False
    assert [(each["base_model"], each["studies"]) for each in found["base_models"]] == [("roberta-base", 2)]
    assert found["chart"] == "results/rounds.png"


def test_all_studies_of_a_task_are_compared_by_base(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "--task", "sentiment"]) == 0
    out = capsys.readouterr().out
    assert [line.split()[:3] for line in out.splitlines() if line.startswith("minilm")] == [["minilm", "3", "0.6600"]]


def test_studies_that_measured_nothing_are_shown_as_such(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save(study(trials=0, name="new", created=9000.0, winner=None, state=RUNNING, finished=None))
    assert main(["compare", "new"]) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[1].split() == ["1", "new", *["-"] * 7]
    assert "No round has an overall score yet." in out
    assert "Nothing was measured yet, so there is nothing to draw." in out
    assert not (results / "rounds.png").exists()
    assert main(["compare"]) == 0
    assert "Best: round 2, second" in capsys.readouterr().out, "an unfinished round does not hide the others"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nosuch", "firs"], "study = 'nosuch': there is no such study in results"),
        (["nosuch", "firs"], "study = 'firs': there is no such study in results. Did you mean first?"),
        (["first", "--task", "sentiment"], "name studies, or give --base-model or --task, not both."),
        (["--base-model", "gpt"], "there is no study on gpt in results."),
        (["--base-model", "minilm"], "are of several tasks: cooking, sentiment. Name one with --task."),
        (["first", "soup"], "studies of several tasks (cooking, sentiment) have no number in common."),
        (["--task", "cookin"], "there is no such task"),
        (["soup"], "there is no such task"),
    ],
)
def test_what_cannot_be_compared_is_a_sentence(
    results: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], sentence: str
) -> None:
    save(study(name="soup", task="cooking"))
    assert main(["compare", *arguments]) != 0
    error = capsys.readouterr().err
    assert sentence in error
    assert "Traceback" not in error


def test_without_studies_there_is_nothing_to_compare(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["compare"]) == 1
    assert "there is no study in results" in capsys.readouterr().err


def test_the_first_round_has_nothing_to_be_compared_with() -> None:
    only = Round(1, "first", 1.0, 0.6, 0.4, {}, "x", {}, True, "")
    said = verdict([only], {"first": None})
    assert said == [
        "Best: round 1, first, with an overall score of 0.6000.",
        "It is the only round, so there is nothing to compare it with yet.",
    ]
