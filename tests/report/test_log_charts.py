"""The picture of training logs: whole, and with panels only for what the logs hold."""

from __future__ import annotations

from pathlib import Path

import pytest
from matplotlib.figure import Figure
from PIL import Image

from tests.report.test_log_verdict import FALLING, training
from tuner.data.training_logs import RESULTS, STUDY, Entry, TrainingLog
from tuner.report import log_charts
from tuner.report.log_charts import draw_logs
from tuner.report.log_metrics import meaning
from tuner.report.log_verdict import judge

_, draw_loss = log_charts._PANELS[0]
EVALUATED = training(FALLING, [0.9, 0.6, 0.8], grad_norm=1.0, learning_rate=1e-3, throughput=900.0)
ANSWERS = TrainingLog("predict.json", RESULTS, totals={"predict_bleu-4": 31.0, "predict_rouge-l": 40.0})
STUDIED = TrainingLog(
    "logs.txt", STUDY, tuple(Entry(n, {"trial": n, "score": n / 10}, label="complete") for n in range(5))
)


@pytest.mark.parametrize(
    ("logs", "height"),
    [
        ([EVALUATED], 1040),
        ([training(FALLING)], 620),
        ([EVALUATED] * 9, 1040),
        ([ANSWERS], 620),
        ([ANSWERS, EVALUATED, STUDIED], 1460),
        ([STUDIED], 620),
        ([TrainingLog("好" * 60, "training log", training([0.1]).entries)], 620),
    ],
)
def test_the_picture_has_the_panels_that_the_logs_fill(logs: list[TrainingLog], height: int, tmp_path: Path) -> None:
    path = tmp_path / "logs.png"
    draw_logs(logs, [judge(log) for log in logs], path)
    with Image.open(path) as image:
        assert image.size == (1600, height)
        grey = image.convert("L")
        for edge in ((0, 0, 1600, 8), (0, height - 6, 1600, height), (0, 0, 6, height), (1594, 0, 1600, height)):
            assert grey.crop(edge).getextrema() == (255, 255)


def test_curves_hold_the_logs_own_numbers() -> None:
    axes = Figure().add_subplot()
    draw_loss(axes, [EVALUATED])
    training_line, evaluation_line = axes.get_lines()
    assert list(training_line.get_ydata()) == FALLING
    assert list(evaluation_line.get_ydata()) == [0.9, 0.6, 0.8]
    assert axes.get_xlabel() == "epoch"


def test_a_loss_over_a_wide_range_has_a_logarithmic_axis() -> None:
    axes = Figure().add_subplot()
    draw_loss(axes, [training([2.0, 0.01])])
    assert axes.get_yscale() == "log"


@pytest.mark.parametrize(
    ("metric", "said"),
    [
        ("eval_loss", "overfitting begins"),
        ("predict_bleu-4", "four words"),
        ("predict_rouge-l", "longest sequence"),
        ("predict_model_preparation_time", "first batch"),
        ("predict_steps_per_second", "batches a second"),
        ("eval_f1", "evaluation rows"),
        ("num_input_tokens_seen", "tokens read"),
        ("frobnication", ""),
    ],
)
def test_a_known_metric_is_explained(metric: str, said: str) -> None:
    assert said in meaning(metric)
    assert bool(said) == bool(meaning(metric))
