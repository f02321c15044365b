"""A whole study of question answering with the real engine on a toy base: from rows to a winner, its answers and its
report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.engine.test_usage import MEASURED
from tests.tasks.shoe_qa import toy
from tuner import tasks
from tuner.cli.main import main
from tuner.cli.summary import print_summary
from tuner.cli.terminal import console
from tuner.config import StudyConfig
from tuner.score import GRADES
from tuner.store.outputs import read_outputs
from tuner.store.records import COMPLETE, StudyRecord
from tuner.study.study import run_study
from tuner.tasks.shoe_qa.rubric import MARKS

# PEFT asks transformers for a name that it will drop
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
TIMED = {
    "time", *toy.CLOCKS, *MEASURED, "train_seconds", "tokens_per_second", "samples_per_second",
    "predict_model_preparation_time",
}  # fmt: skip
SPACE = {
    "rank": {"type": "int", "low": 2, "high": 8},
    "learning_rate": {"type": "float", "low": 1e-3, "high": 3e-2, "log": True},
    "epochs": 3,
    "target_modules": {"type": "choice", "values": [["q_proj", "v_proj"], toy.EVERYWHERE]},
}


def config(base: Path, folder: Path, **changes: Any) -> StudyConfig:
    """Three trials on Chinese and English rows in files."""
    data = toy.write_data(folder / "data", toy.make_splits())
    settings = {"space": SPACE, "search__trials": 3, "search__top_k": 1, "search__top_k_seeds": 2, **changes}
    return toy.make_config(base, data, results=folder, **settings)


@pytest.fixture(scope="module")
def finished(base: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[StudyRecord, Path]:
    """A study at its end, and its folder."""
    folder = tmp_path_factory.mktemp("study")
    return run_study(config(base, folder, benchmark={"items": 6}), in_process=True), folder / "toy"


def reports_of(record: StudyRecord) -> list[Any]:
    """What must be the same for the same seed: all but the time."""
    return [
        (trial.params, [{k: v for k, v in report.items() if k not in TIMED} for report in trial.reports])
        for trial in record.trials
    ]


@pytest.mark.slow
def test_the_winner_is_judged_by_the_rubric(
    finished: tuple[StudyRecord, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    record, folder = finished
    assert record.state == COMPLETE
    assert len(record.trials) == 3
    winner = record.winner
    assert winner is not None
    assert set(winner.grades) == {"efficiency", "quality", "preservation", "overall"}
    assert set(winner.grades.values()) <= set(GRADES)
    for metrics in (winner.metrics, winner.test):
        assert metrics["rubric"] == pytest.approx(sum(metrics[name] for name in MARKS) / 40)
        assert metrics["score_quality"] > 0
    print_summary(console(), folder, record)
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.split()[:1] == ["quality"])
    assert "rubric" in line
    assert line.split()[2] == winner.grades["quality"]


@pytest.mark.slow
def test_the_kept_answers_are_those_of_the_saved_adapter(finished: tuple[StudyRecord, Path]) -> None:
    record, folder = finished
    outputs = read_outputs(folder)
    assert outputs is not None
    assert record.winner is not None
    assert (outputs.trial_id, outputs.split) == (record.winner.trial_id, "test")
    assert [item.input for item in outputs.items] == [row.question for row in toy.make_splits().test[:6]]
    found = tasks.spec("shoe_qa").predictor(folder / "best").predict([item.input for item in outputs.items])
    assert [item.answer for item in outputs.items] == [each["answer"] for each in found]
    assert all(item.base_answer and item.base_metrics for item in outputs.items)


@pytest.mark.slow
def test_the_report_has_marks_and_answers(finished: tuple[StudyRecord, Path]) -> None:
    _, folder = finished
    assert main(["report", "toy", "--results", str(folder.parent)]) == 0
    (page,) = (folder / "reports").glob("training_report_*.html")
    (numbers,) = (folder / "reports").glob("training_report_*.json")
    text = page.read_text(encoding="utf-8")
    for word in ("key data", "semantic consistency", toy.make_splits().test[0].question):
        assert word in text
    assert "completeness" in json.dumps(json.loads(numbers.read_text(encoding="utf-8")))


@pytest.mark.slow
def test_the_same_seed_gives_the_same_study(finished: tuple[StudyRecord, Path], base: Path, tmp_path: Path) -> None:
    again = run_study(config(base, tmp_path), in_process=True)
    assert reports_of(again) == reports_of(finished[0])
    assert again.winner is not None
    assert finished[0].winner is not None
    assert again.winner.params == finished[0].winner.params


@pytest.mark.slow
def test_patience_ends_a_trial_that_no_longer_improves(base: Path, tmp_path: Path) -> None:
    # steps so small that no answer changes
    space = {"rank": 2, "learning_rate": 1e-9, "epochs": 6}
    record = run_study(
        config(base, tmp_path, space=space, search__trials=1, search__patience=2, search__top_k_seeds=1),
        in_process=True,
    )
    (trial,) = record.trials
    assert trial.state == COMPLETE
    assert [report.get("stopped_early", 0.0) for report in trial.reports] == [0.0, 0.0, 1.0]
    assert len({report["rubric"] for report in trial.reports}) == 1
