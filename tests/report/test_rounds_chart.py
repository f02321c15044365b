"""Tests of tuner/report/rounds_chart.py: the picture of a series."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from tests.store.factory import study
from tuner.report import rounds_chart
from tuner.report.panels import WIN
from tuner.report.rounds import Round
from tuner.report.rounds_chart import draw_rounds
from tuner.report.settings import settings_of


def made(iteration: int, value: float, comparable: bool = True) -> Round:
    """A round whose numbers are all that value."""
    averages = dict.fromkeys(("certainty", "accuracy", "preservation"), value)
    return Round(iteration, f"study-{iteration}", 1.0, value, value, averages, "x", {}, comparable, "")


def names(axes: Axes) -> list[str]:
    """What the labels on the axes say."""
    return [text.get_text() for text in axes.texts]


@pytest.mark.parametrize("values", [[0.5], [0.4, 0.5, 0.7], [0.4, math.nan, 0.7], [0.5] * 30])
def test_the_picture_is_whole(values: list[float], tmp_path: Path) -> None:
    path = tmp_path / "rounds.png"
    rounds = [made(place, value) for place, value in enumerate(values, 1)]
    assert draw_rounds(rounds, settings_of(study()), path)
    with Image.open(path) as image:
        assert image.size == (1600, 620)
        grey = image.convert("L")
        for edge in ((0, 0, 1600, 8), (0, 614, 1600, 620), (0, 0, 6, 620), (1594, 0, 1600, 620)):
            assert grey.crop(edge).getextrema() == (255, 255), "nothing is cut off"
        assert grey.crop((100, 150, 450, 480)).getextrema() != (255, 255), "there is something in the first panel"


def test_nothing_is_drawn_of_nothing(tmp_path: Path) -> None:
    path = tmp_path / "rounds.png"
    assert not draw_rounds([made(1, math.nan)], settings_of(study()), path)
    assert not path.exists()


def test_a_line_has_a_gap_where_nothing_was_measured_and_hollow_points_where_it_was_measured_otherwise() -> None:
    axes = Figure().add_subplot()
    rounds = [made(1, 0.4), made(2, math.nan), made(3, 0.6, comparable=False)]
    rounds_chart._lines(axes, rounds, {"overall": [each.overall_score for each in rounds]}, (WIN,))
    line, *points = axes.get_lines()
    assert [str(value) for value in np.asarray(line.get_ydata()).tolist()] == ["0.4", "nan", "0.6"]
    assert [point.get_markerfacecolor() for point in points] == [WIN, WIN, "white"]
    assert "not measured" not in names(axes)
    axes = Figure().add_subplot()
    rounds_chart._lines(axes, [made(1, math.nan)], {"overall": [math.nan]}, (WIN,))
    assert names(axes) == ["not measured"]


def test_limits_are_lines_with_their_names() -> None:
    axes = Figure().add_subplot()
    axes.plot([1, 2], [0.3, 0.9])
    rounds_chart._limits(
        axes,
        [("alert: certainty", 0.5, "red"), ("alert: accuracy", 0.5, "blue"), ("alert: color", None, "green")],
        [("converged: certainty", 0.8, "red"), ("converged: accuracy", 0.801, "blue")],
    )
    lines = {np.asarray(line.get_ydata())[0]: line.get_linestyle() for line in axes.get_lines()[1:]}
    assert list(lines) == [0.5, 0.8, 0.801]
    assert names(axes) == ["alert: certainty, accuracy 0.5", "converged: certainty 0.8", "converged: accuracy 0.801"]
    heights = [text.get_position()[1] for text in axes.texts]
    assert heights[2] - heights[1] > 0.025, "labels of near values do not cover each other"


def test_the_configs_limits_are_drawn() -> None:
    settings = settings_of(study())
    settings = replace(settings, alerts=settings.alerts.model_copy(update={"total_loss_above": 0.66}))
    figure = Figure()
    rounds_chart._draw(figure, [made(1, 0.5), made(2, 0.6)], settings)
    loss, similarities, overall = figure.axes
    assert names(loss) == ["converged at 0.4", "alert above 0.66"]
    assert names(similarities) == [
        "alert: certainty 0.5", "alert: accuracy 0.6",
        "converged: certainty 0.8", "converged: accuracy 0.85",
    ]  # fmt: skip
    assert names(overall) == ["alert below 0.4", "converged at 0.7"]
    assert figure.texts[0].get_text() == "2 rounds: the best overall score is 0.600, in round 2"
