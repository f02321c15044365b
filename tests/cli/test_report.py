"""Tests of `tuner report`: files, words, and sentences for what cannot be reported."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.samples import finished, record, save
from tuner.cli.main import main
from tuner.store.files import write_study


def test_it_says_in_short_what_the_page_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save(tmp_path, finished())
    assert main(["report", "--results", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "Trial 2 won: rank 16" in said
    assert "Missing: No outputs were judged one by one: the study has left none." in said
    for kind in ("training_report_", "training_charts_", "tuning_dashboard_"):
        assert kind in said
    assert len(list((tmp_path / "reviews" / "reports").iterdir())) == 4


def test_a_running_study_has_a_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save(tmp_path, record(), adapter=False)
    assert main(["report", "reviews", "--results", str(tmp_path), "--json"]) == 0
    places = json.loads(capsys.readouterr().out)
    assert list(places) == ["page", "numbers", "charts", "dashboard"]
    assert all(Path(place).is_file() for place in places.values())
    assert json.loads(Path(places["numbers"]).read_text())["adapter"] is None


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["report", "review"], 1, "Did you mean reviews?"),
        (["report", "../reviews"], 1, "with no slash"),
        (["report", "--preset", "nice"], 2, "is no preset of this task"),
    ],
)
def test_what_cannot_be_is_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, words: str
) -> None:
    save(tmp_path, finished())
    assert main([*arguments, "--results", str(tmp_path)]) == code
    said = capsys.readouterr()
    assert words in said.err
    assert "Traceback" not in said.err
    assert not (tmp_path / "reviews" / "reports").exists()


def test_a_preset_is_taken(tmp_path: Path) -> None:
    save(tmp_path, finished())
    assert main(["report", "--preset", "balanced", "--results", str(tmp_path)]) == 0
    (path,) = (tmp_path / "reviews" / "reports").glob("*.json")
    assert json.loads(path.read_text())["benchmark_analysis"]["weights"]["certainty"] == 0.33


def test_a_damaged_record_is_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_study(tmp_path / "reviews", finished())
    (tmp_path / "reviews" / "study.json").write_text('{"name": ')
    assert main(["report", "reviews", "--results", str(tmp_path)]) == 1
    assert "study.json cannot be read" in capsys.readouterr().err


def test_no_study_at_all(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", "--results", str(tmp_path)]) == 1
    assert "there is no study" in capsys.readouterr().err
