"""`tuner logs analyze`: what it prints, draws and refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.samples import finished, save
from tuner.cli.main import main

OVERFITTED = "\n".join(
    [f"{{'loss': {1 / n:.3f}, 'epoch': {n}, 'throughput': 900.0}}\n{{'eval_loss': {e}, 'epoch': {n}}}"
     for n, e in enumerate([0.9, 0.6, 0.7, 0.9], 1)]
)  # fmt: skip
FINE = OVERFITTED.replace("0.7", "0.55").replace("'eval_loss': 0.9, 'epoch': 4", "'eval_loss': 0.4, 'epoch': 4")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.log").write_text(OVERFITTED + "\n{'loss': 0.2, 'epo")
    (tmp_path / "good.log").write_text(FINE)
    return tmp_path


def test_one_log_is_explained_and_drawn(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["logs", "analyze", "bad.log"]) == 0
    out = capsys.readouterr().out
    assert "bad.log: training log, 8 entries on 9 lines, 4 epochs" in out
    assert "Overfitting. Evaluation loss was lowest at epoch 2" in out
    assert "1 entry could not be read (line 9: the line ends inside the entry)" in out
    assert "where it turns up, overfitting begins" in out
    assert "\x1b" not in out
    assert (folder / "training_logs.png").stat().st_size > 10_000


def test_several_logs_are_compared(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["logs", "analyze", "bad.log", "good.log", "--chart", "both.png"]) == 0
    out = capsys.readouterr().out
    assert "good.log reached the lowest evaluation loss, 0.4" in out
    assert (folder / "both.png").exists()


def test_json_is_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["logs", "analyze", "bad.log", "good.log", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [log["verdict"]["word"] for log in found["logs"]] == ["overfitting", "still learning"]
    assert found["logs"][0]["metrics"]["eval_loss"]["points"][0] == [1.0, 0.9]
    assert found["logs"][0]["broken"] == [{"line": 9, "why": "the line ends inside the entry"}]


def test_a_study_of_ours_is_read(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save(folder / "results", finished("reviews", created=1000.0))
    assert main(["logs", "analyze", "results/reviews"]) == 0
    assert "trials: " in capsys.readouterr().out


def test_logs_of_one_name_are_told_apart(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "a").mkdir()
    (folder / "a" / "good.log").write_text(FINE)
    assert main(["logs", "analyze", "good.log", "a/good.log"]) == 0
    assert "a/good.log: training log" in capsys.readouterr().out


def test_times_alone_are_shown_and_not_drawn(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "train_results.json").write_text('{"train_runtime": 12.5}')
    assert main(["logs", "analyze", "train_results.json"]) == 0
    out = capsys.readouterr().out
    assert "seconds that this phase took" in out
    assert "There is nothing to draw." in out
    assert not (folder / "training_logs.png").exists()


def test_every_file_that_is_no_log_is_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "empty.log").write_text("")
    assert main(["logs", "analyze", "empty.log", "missing.log", "good.log"]) == 2
    said = capsys.readouterr().err
    assert "2 problems" in said
    assert "the file is empty" in said
    assert "there is no such file" in said
    assert not (folder / "training_logs.png").exists()


def test_a_chart_that_cannot_be_written_is_an_error(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "there").write_text("a file")
    assert main(["logs", "analyze", "good.log", "--chart", "there/chart.png"]) == 1
    assert "cannot write" in capsys.readouterr().err
