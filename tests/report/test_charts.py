"""The chart: every panel shows the study's own numbers, and says so in words where there are none."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure
from PIL import Image

from tests.store.factory import study
from tuner.errors import StoreError
from tuner.report import panels
from tuner.report.charts import study_chart
from tuner.report.importance import importance
from tuner.report.trials import rerun_groups
from tuner.store.records import COMPLETE, FAILED, INTERRUPTED, RUNNING, StudyRecord, TrialRecord


def draw(panel: Any, record: StudyRecord) -> Any:
    axes = Figure().add_subplot()
    panel(axes, record)
    return axes


def words(axes: Any) -> str:
    return " ".join(text.get_text() for text in axes.texts)


def labels(axes: Any) -> list[str]:
    return [text.get_text() for text in axes.get_legend().get_texts()]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("reports") / "deep" / "study.png"
    study_chart(study(), path)
    return path


def test_the_picture_is_a_png_of_the_promised_size(drawn: Path) -> None:
    with Image.open(drawn) as image:
        assert (image.format, image.size) == ("PNG", (1600, 1000))
        assert len(image.convert("RGB").getcolors(1_000_000) or []) > 200  # far from blank


def test_nothing_is_cut_off_at_the_edges(drawn: Path) -> None:
    with Image.open(drawn) as image:
        grey = image.convert("L")
        for edge in ((0, 0, 1600, 8), (0, 992, 1600, 1000), (0, 0, 6, 1000), (1594, 0, 1600, 1000)):
            assert grey.crop(edge).getextrema() == (255, 255)


@pytest.mark.parametrize(
    "record",
    [
        study(trials=0),
        study(trials=1),
        replace(study(), winner=None, reruns=()),
        study(name="评论 $x_1$ <b>", base_model="$\\frac{"),
        study(config={}),
        replace(study(trials=0), trials=(TrialRecord("a", 0, {}, 0, FAILED), TrialRecord("b", 1, {}, 0, RUNNING))),
    ],
    ids=["empty", "one trial", "running", "strange names", "no config", "no params"],
)
def test_unfinished_and_strange_studies_are_drawn(record: StudyRecord, tmp_path: Path) -> None:
    study_chart(record, tmp_path / "study.png")
    assert (tmp_path / "study.png").stat().st_size > 5000


def test_a_chart_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot write"):
        study_chart(study(trials=0), tmp_path / "file" / "study.png")


def test_the_search_panel_counts_states_and_follows_the_best() -> None:
    record = study()
    axes = draw(panels.search_panel, record)
    assert labels(axes) == ["best so far", "complete (10)", "stopped early (5)", "failed (1)", "winner"]
    (line,) = axes.lines
    heights = list(line.get_ydata())
    assert heights == sorted(heights)
    assert heights[-1] == max(trial.score for trial in record.trials if trial.score is not None)


def test_a_state_with_and_without_scores_is_named_once() -> None:
    trials = (
        TrialRecord("a", 0, {}, 0, INTERRUPTED).with_report({"score": 0.5}),
        TrialRecord("b", 1, {}, 0, INTERRUPTED),
    )
    axes = draw(panels.search_panel, replace(study(trials=0), trials=trials))
    assert labels(axes) == ["best so far", "interrupted (2)"]


def test_each_trial_with_a_report_has_its_curve_and_rungs_are_marked() -> None:
    record = study()
    axes = draw(panels.curves_panel, record)
    lengths = sorted(len(trial.reports) for trial in record.trials if trial.reports)
    curves = [line for line in axes.lines if line.get_linestyle() == "-"]
    assert sorted(len(line.get_xdata()) for line in curves) == lengths
    rungs = [line.get_xdata()[0] for line in axes.lines if line not in curves]
    assert rungs == [500.0, 1500.0]  # half a pass over 1,000 rows, and three times that
    assert (curves[-1].get_color(), curves[-1].get_linewidth()) == (panels.WIN, 3.2)


def test_the_plane_holds_every_trial() -> None:
    record = study()
    axes = draw(panels.plane_panel, record)
    places = {tuple(place) for marks in axes.collections for place in marks.get_offsets().tolist()}
    assert places == {(trial.params["learning_rate"], trial.params["rank"]) for trial in record.trials}
    assert "winner" in words(axes)


def test_importance_bars_are_the_shares() -> None:
    record = study()
    axes = draw(panels.importance_panel, record)
    shares = [100 * share for share in importance(record).shares.values()]
    assert [bar.get_width() for bar in axes.patches] == pytest.approx(list(reversed(shares)))


def test_too_few_trials_are_said() -> None:
    assert "too few trials" in words(draw(panels.importance_panel, study(trials=4)))


def test_reruns_show_mean_and_interval() -> None:
    record = study()
    axes = draw(panels.rerun_panel, record)
    groups = rerun_groups(record)
    assert [tuple(line.get_xdata()) for line in axes.lines] == [group.interval for group in reversed(groups)]
    assert f"{groups[0].mean:.3f}" in words(axes)
    assert [label.get_text() for label in axes.get_yticklabels()][-1].endswith("(winner)")


def test_without_reruns_it_is_said() -> None:
    assert words(draw(panels.rerun_panel, study(reruns=()))) == "not re-run on other seeds"


def test_every_state_has_its_own_colour_and_marker() -> None:
    assert COMPLETE in panels.LOOKS
    assert len({colour for colour, _ in panels.LOOKS.values()}) == len({m for _, m in panels.LOOKS.values()}) == 5


def test_importing_draws_nothing_and_loads_nothing() -> None:
    program = (
        "import sys\nimport tuner.report.charts, tuner.report.card, tuner.report.tensorboard\n"
        "heavy = {'matplotlib', 'torch', 'optuna', 'tensorboard', 'scipy', 'ray'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
