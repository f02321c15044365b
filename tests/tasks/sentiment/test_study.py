"""A whole study with the real engine on a toy base: from rows to a winner with its grades, as a person reads them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.engine import toy
from tuner import tasks
from tuner.cli.summary import print_summary
from tuner.cli.terminal import console
from tuner.score import GRADES
from tuner.store.outputs import read_outputs
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


# PEFT asks transformers for a name that it will drop
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
def test_the_kept_outputs_are_those_of_the_saved_adapter(toy_bases: dict[str, Path], tmp_path: Path) -> None:
    data = toy.write_data(tmp_path / "data", toy.make_splits())
    space = {"rank": 4, "learning_rate": 0.02, "epochs": 4}  # so that it has learned something
    config = toy.make_config(
        toy_bases["bert"], data, results=tmp_path, space=space, benchmark={"items": 10}, search__trials=1,
        search__top_k=1, search__top_k_seeds=2,
    )  # fmt: skip
    record = run_study(config, in_process=True)
    outputs = read_outputs(tmp_path / "toy")
    assert outputs is not None
    assert record.winner is not None
    assert (outputs.trial_id, outputs.split) == (record.winner.trial_id, "test")
    assert [item.input for item in outputs.items] == [row.text for row in toy.make_splits().test[:10]]
    spec = tasks.spec("sentiment")
    answers = spec.predictor(tmp_path / "toy" / "best").predict([item.input for item in outputs.items])
    for item, answer in zip(outputs.items, answers, strict=True):
        assert item.answer == answer[spec.answer]
        sure = answer["probability"] if item.answer == item.expected else 1 - answer["probability"]
        assert item.metrics["label_probability"] == pytest.approx(sure, abs=1e-4)
