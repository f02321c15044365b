"""`tuner status`, finding studies, and the summary at the end of one."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.cli.samples import finished, record, save
from tuner.cli.find import adapter_folder, all_studies, find_study
from tuner.cli.main import main
from tuner.cli.summary import next_commands
from tuner.errors import StoreError, StudyError
from tuner.store.records import INTERRUPTED


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A results folder with an older finished and a newer running study."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")
    folder = Path("results")
    save(folder, finished("old", created=1000.0))
    save(folder, record("new", created=2000.0), adapter=False)
    return folder


def test_the_newest_study_is_shown(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status"]) == 0
    out = capsys.readouterr().out
    assert "new is running: 4 of 8 trials done" in out
    assert "the loss was not finite" in out
    rows = [line.split() for line in out.splitlines() if "0.00123" in line and "Best" not in line]
    assert [row[0] for row in rows][:5] == ["2", "0", "4", "1", "3"], "best score first, no score last"
    assert "\x1b" not in out


@pytest.mark.parametrize(("width", "columns"), [("80", False), ("160", True)])
def test_the_table_suits_the_width(
    results: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, width: str, columns: bool
) -> None:
    monkeypatch.setenv("COLUMNS", width)
    main(["status"])
    lines = capsys.readouterr().out.splitlines()
    assert ("learning rate" in lines[0], "configuration" in lines[0]) == (columns, not columns)
    assert max(map(len, lines[: lines.index("")])) <= int(width), "paths and commands may be longer, the table not"


def test_a_finished_study_tells_all(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "old"]) == 0
    out = capsys.readouterr().out
    for part in (
        "old is complete in 2 min 5 s",
        "Best configuration (trial 2)",
        "Score 0.8012   good   the mean of 3 seeds, 95 % interval 0.7900 to 0.8100",
        "results/old/best",
        "results/old/tensorboard",
        "tuner predict sentiment 'The sole came off after a week.' --study old",
        "tuner promote old --as sentiment/main",
        "tensorboard --logdir results/old/tensorboard",
        "optuna-dashboard sqlite:///results/old/study.db",
    ):
        assert part in out
    rows = [line.split() for line in out.splitlines()]
    for row in (
        ["efficiency", "0.9500", "excellent", "MB", "of", "adapter", "a", "step", "0.00123"],
        ["quality", "0.7400", "good", "accuracy", "86.0%"],
        ["preservation", "0.7900", "good", "preservation", "0.8"],
        ["accuracy", "86.0%", "85.3%"],
        ["loss", "0.38", "0.4"],
        ["score", "0.8012", "0.79"],
    ):
        assert row in rows


def test_an_interrupted_study_says_how_to_go_on(results: Path) -> None:
    made = replace(record("new"), state=INTERRUPTED)
    assert next_commands(results / "new", made)[0] == "tuner tune --resume new"
    assert next_commands(Path("else where/new"), made)[0] == "tuner tune --resume new --results 'else where'"


def test_json_is_the_record(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "old", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["winner"]["score"] == 0.8012


def test_the_list(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--list", "--json"]) == 0
    assert [row["name"] for row in json.loads(capsys.readouterr().out)] == ["new", "old"]
    assert main(["status", "--list"]) == 0
    shown = capsys.readouterr().out
    assert shown.index("new ") < shown.index("old ")


def test_no_study_and_a_wrong_name(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--results", "nowhere"]) == 1
    assert capsys.readouterr().err == "tuner: there is no study in nowhere. Run one: tuner tune sentiment\n"
    assert main(["status", "odl"]) == 1
    assert "Did you mean old?" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["../results/old", "", ".", "..", "old/", "/etc"])
def test_names_never_leave_the_folder(results: Path, name: str) -> None:
    with pytest.raises(StudyError):
        find_study(results, name)


def test_a_broken_study_hides_no_other(results: Path) -> None:
    (results / "old" / "study.json").write_text("{")
    assert [made.name for _, made in all_studies(results)] == ["new"]
    with pytest.raises(StoreError, match="cannot be read"):
        find_study(results, "old")


def test_the_adapter_of_an_unfinished_study(results: Path) -> None:
    assert adapter_folder(*find_study(results, "old")) == results / "old" / "best"
    with pytest.raises(StudyError, match="has no best adapter yet"):
        adapter_folder(*find_study(results, "new"))
