"""A whole study with the real engine on a toy base: from rows to a winner with its grades, as a person reads them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.engine import toy
from tuner.cli.summary import print_summary
from tuner.cli.terminal import console
from tuner.score import GRADES
from tuner.study.study import run_study


@pytest.mark.parametrize("quality", ["accuracy", "macro_f1"])
def test_the_winner_is_graded_by_the_metric_that_its_rows_call_for(
    toy_bases: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], quality: str
) -> None:
    splits = toy.make_splits() if quality == "accuracy" else toy.unbalanced(toy.make_splits())
    data = toy.write_data(tmp_path / "data", splits)
    bands = {"quality": {"excellent": 0.99, "good": 0.6, "average": 0.3}}
    config = toy.make_config(
        toy_bases["bert"], data, results=tmp_path, score={"bands": bands}, search__top_k=1, search__top_k_seeds=2
    )
    record = run_study(config, in_process=True)
    assert record.winner is not None
    assert set(record.winner.grades) == {"efficiency", "quality", "preservation", "overall"}
    assert set(record.winner.grades.values()) <= set(GRADES)
    value = record.winner.metrics[quality]
    assert record.winner.grades["quality"] == next(
        word for word, edge in (*bands["quality"].items(), ("poor", 0.0)) if value >= edge
    )
    print_summary(console(), tmp_path / "toy", record)
    out = capsys.readouterr().out
    (line,) = (line for line in out.splitlines() if line.split()[:1] == ["quality"])
    assert line.split()[2] == record.winner.grades["quality"]
    assert quality.replace("_", " ") in line
    assert record.winner.grades["overall"] in out
