"""The picture of the results: every panel shows the study's own numbers, and says so in words where there are none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure
from PIL import Image

from tests.report.pages import page_of, rounds, sized, texts
from tests.store.factory import study
from tuner.errors import StoreError
from tuner.report import training_charts
from tuner.report.figures_charts import grade_counts
from tuner.report.panels import WIN
from tuner.report.training_charts import draw_training_charts
from tuner.score_fashion import FASHION
from tuner.store.records import StudyRecord

RECORD = sized(study())
PAGE = page_of(RECORD, texts(20), rounds=rounds(4, FASHION))


def draw(panel: Any, *given: Any) -> Any:
    axes = Figure().add_subplot()
    panel(axes, *given)
    return axes


def words(axes: Any) -> str:
    return " ".join(text.get_text() for text in axes.texts).replace("\n", " ")


def test_the_picture_is_a_png_of_the_promised_size(tmp_path: Path) -> None:
    path = tmp_path / "reports" / "training_charts.png"
    draw_training_charts(RECORD, PAGE, path)
    with Image.open(path) as image:
        assert (image.format, image.size) == ("PNG", (1600, 1400))
        assert len(image.convert("RGB").getcolors(1_000_000) or []) > 200
        grey = image.convert("L")
        for edge in ((0, 0, 1600, 8), (0, 1392, 1600, 1400), (0, 0, 6, 1400), (1594, 0, 1600, 1400)):
            assert grey.crop(edge).getextrema() == (255, 255)  # nothing is cut off


@pytest.mark.parametrize(
    ("record", "page"),
    [
        (study(trials=0), {}),
        (study(trials=1), page_of(study(trials=1))),
        (study(name="评论 $x_1$ <b>", config={}), PAGE),
    ],
    ids=["empty", "one trial", "strange"],
)
def test_unfinished_and_strange_studies_are_drawn(record: StudyRecord, page: dict[str, Any], tmp_path: Path) -> None:
    draw_training_charts(record, page, tmp_path / "charts.png")
    assert (tmp_path / "charts.png").stat().st_size > 5000


def test_a_picture_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot write"):
        draw_training_charts(study(trials=0), {}, tmp_path / "file" / "charts.png")


@pytest.mark.parametrize(
    ("panel", "given", "said"),
    [
        ("data_panel", ({},), "does not say how many rows"),
        ("size_panel", (study(),), "the size of its adapter"),
        ("grades_panel", ({},), "no outputs were judged"),
        ("similarity_panel", ({},), "no similarity was measured"),
        ("loss_panel", (study(trials=0),), "no trial has reported a loss"),
        ("rounds_panel", (study(), {}), "the first study of its series"),
        ("work_panel", ({},), "has not recorded"),
    ],
)
def test_a_panel_without_data_says_so(panel: str, given: tuple[Any, ...], said: str) -> None:
    assert said in words(draw(getattr(training_charts, panel), *given))


def test_rows_are_stacked_to_each_splits_total() -> None:
    axes = draw(training_charts.data_panel, PAGE)
    assert [text.get_text() for text in axes.texts] == ["1,000", "300", "300"]
    assert sum(bar.get_height() for bar in axes.patches) == 1600


def test_sizes_rise_with_the_rank_and_the_winners_is_green() -> None:
    axes = draw(training_charts.size_panel, RECORD)
    ranks = [text.get_text() for text in axes.get_xticklabels()]
    assert ranks == sorted(ranks, key=int)
    green = [
        rank
        for rank, bar in zip(ranks, axes.patches, strict=True)
        if bar.get_facecolor()[:3] == (0, 158 / 255, 115 / 255)
    ]
    assert green == ["3"]


def test_grades_are_counted() -> None:
    axes = draw(training_charts.grades_panel, PAGE)
    shown = [text.get_text() for text in axes.get_legend().get_texts()]
    assert [text.partition(" (")[0] for text in shown] == [f"{word}: {n}" for word, n in grade_counts(PAGE).items()]


def test_similarities_have_alert_lines() -> None:
    axes = draw(training_charts.similarity_panel, PAGE)
    assert [bar.get_width() for bar in axes.patches] == pytest.approx([each["average"] for each in PAGE["measures"]])
    assert [line.get_xdata()[0] for line in axes.lines] == [0.5, 0.6]


def test_every_trial_with_a_loss_has_its_curve_the_winner_last() -> None:
    axes = draw(training_charts.loss_panel, RECORD)
    assert len(axes.lines) == sum(bool(trial.reports) for trial in RECORD.trials)
    assert axes.lines[-1].get_color() == WIN
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["complete", "stopped early", "winner"]


def test_rounds_have_curves_and_alert_lines() -> None:
    axes = draw(training_charts.rounds_panel, RECORD, PAGE)
    curves = [line for line in axes.lines if line.get_marker() == "o"]
    assert list(curves[0].get_ydata()) == pytest.approx([0.4, 0.5, 0.6, 0.7])
    assert {line.get_ydata()[0] for line in axes.lines if line not in curves} >= {0.4, 0.8}


def test_performance_is_that_of_the_engines() -> None:
    axes = draw(training_charts.work_panel, PAGE)
    points = PAGE["performance"]["engines"][0]["points"]
    assert list(axes.lines[0].get_ydata()) == [point["samples_per_second"] for point in points]
