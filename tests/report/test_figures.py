"""The interactive figures: each holds the study's own numbers, and says in words where there are none."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.report.pages import EVIL, page_of, rounds, sized, texts
from tests.store.factory import study
from tuner.report import figures_charts, figures_search, figures_space, figures_work
from tuner.report.figures import Shown, log_axis, themes
from tuner.report.optuna_study import optuna_study
from tuner.report.panels import LOOKS, WIN
from tuner.score_fashion import FASHION
from tuner.store.records import COMPLETE, FAILED, INTERRUPTED, PRUNED, RUNNING, StudyRecord, TrialRecord

RECORD = sized(study())
FINISHED = [trial for trial in RECORD.trials if trial.state == COMPLETE]
FIGURES: dict[str, Callable[[StudyRecord, dict[str, Any]], Shown]] = {
    "history": lambda record, page: figures_search.history(record, optuna_study(record)),
    "importance": figures_space.importance,
    "parallel": lambda record, page: figures_space.parallel_coordinates(record, optuna_study(record)),
    "heat_map": lambda record, page: figures_space.heat_map(record, optuna_study(record)),
    "rungs": lambda record, page: figures_search.rungs(record, optuna_study(record)),
    "pareto_size": lambda record, page: figures_search.pareto(record, "adapter_mb"),
    "pareto_time": lambda record, page: figures_search.pareto(record, "train_seconds"),
    "reruns": lambda record, page: figures_search.reruns(record),
    "data_bars": lambda record, page: figures_charts.data_bars(page),
    "adapter_sizes": lambda record, page: figures_charts.adapter_sizes(record),
    "grades": lambda record, page: figures_charts.grades_pie(page),
    "similarities": lambda record, page: figures_charts.similarity_bars(page),
    "rounds": figures_charts.round_trend,
    "breakdown": lambda record, page: figures_charts.score_breakdown(page),
    "work": lambda record, page: figures_work.work(page),
    "timeline": lambda record, page: figures_work.timeline(record),
}


def draw(name: str, record: StudyRecord = RECORD, page: dict[str, Any] | None = None) -> Any:
    """A figure that must be there."""
    shown = FIGURES[name](record, page_of(record) if page is None else page)
    assert shown.figure is not None, shown.caption
    return shown.figure


def trace(figure: Any, name: str) -> Any:
    (found,) = [each for each in figure.data if each.name == name]
    return found


def bare(*trials: TrialRecord, **config: Any) -> StudyRecord:
    return replace(study(trials=0), trials=trials, config=config)


STRANGE = {
    "empty": study(trials=0),
    "one trial": study(trials=1),
    "running": replace(study(), winner=None, reruns=(), finished=None, state=RUNNING),
    "no config": study(config={}),
    "no params": bare(TrialRecord("a", 0, {}, 0, FAILED), TrialRecord("b", 1, {}, 0, RUNNING)),
    "no scores": bare(TrialRecord("a", 0, {"rank": 2}, 0, COMPLETE, reports=({"samples": 4.0}, {"score": None}))),  # type: ignore[dict-item]
    "all alike": bare(
        *(
            TrialRecord(f"t{place}", place, {"rank": 4, "learning_rate": 0.1}, 0, COMPLETE, started=1.0)
            .with_report({"score": 0.5, "samples": 5.0, "adapter_mb": 1.0, "train_seconds": 2.0})
            for place in range(9)
        )
    ),
    "all stopped": bare(
        *(
            TrialRecord(f"t{place}", place, {"rank": 4}, 0, PRUNED).with_report({"score": 0.1 * place, "samples": 5.0})
            for place in range(9)
        ),
        space={"rank": {"type": "int", "low": 2, "high": 32}},
    ),
    "odd values": bare(
        *(
            TrialRecord(f"t{place}", place, {"rank": value, "learning_rate": value, "x": value}, 0, COMPLETE)
            .with_report({"score": 0.1 * place, "samples": 5.0})
            for place, value in enumerate([None, True, EVIL, -1, 0.0, ["a", None]])
        )
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FIGURES)
@pytest.mark.parametrize("kind", STRANGE)
@pytest.mark.parametrize("page", ["page", "nothing"])
def test_every_study_has_every_figure_or_words(
    kind: str, name: str, page: str, capfd: pytest.CaptureFixture[str]
) -> None:
    shown = FIGURES[name](STRANGE[kind], page_of(STRANGE[kind]) if page == "page" else {})
    assert shown.key == name
    assert shown.title
    assert shown.caption.endswith(".")
    if shown.figure is not None:
        text = json.dumps(shown.to_json(), allow_nan=False)
        assert "<script" not in text
        assert "Objective" not in text
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", FIGURES)
def test_a_whole_study_has_every_figure(name: str) -> None:
    figure = draw(name, page=page_of(RECORD, texts(20), rounds=rounds(3, FASHION)))
    assert figure.layout.title.text is None
    assert figure.layout.paper_bgcolor == figure.layout.plot_bgcolor == "rgba(0,0,0,0)"


def test_history_marks_every_trial_and_follows_the_best() -> None:
    figure = draw("history")
    best = trace(figure, "best so far")
    assert list(best.y) == sorted(best.y)
    assert best.y[-1] == max(trial.score for trial in FINISHED if trial.score is not None)
    complete = trace(figure, "complete (10)")
    assert dict(zip(complete.x, complete.y, strict=True)) == {trial.number: trial.score for trial in FINISHED}
    assert list(trace(figure, "stopped early (5)").x) == [t.number for t in RECORD.trials if t.state == PRUNED]
    assert trace(figure, "failed (1)").yaxis == "y2"  # on an axis that has no score
    assert list(trace(figure, "winner").x) == [5]


def test_a_mark_names_its_trial_and_its_hyperparameters() -> None:
    first = trace(draw("history"), "complete (10)").customdata[0]
    for words in ("trial 0", "complete", "rank 2", "learning rate 0.0001", "query + value"):
        assert words in first


def test_importance_bars_are_the_reports_own_shares() -> None:
    shares = {"rank": 0.7, "learning_rate": 0.296, "epochs": 0.004}
    page = page_of(RECORD, importance={"shares": shares, "basis": "scores of 10 trials"})
    shown = figures_space.importance(RECORD, page)
    assert "scores of 10 trials" in shown.caption
    (bars,) = draw("importance", page=page).data
    assert dict(zip(bars.y, bars.x, strict=True)) == pytest.approx({"rank": 70.0, "learning rate": 29.6, "epochs": 0.4})
    assert list(bars.text) == ["< 1 %", "30 %", "70 %"]


def test_without_importance_the_basis_is_the_reason() -> None:
    page = page_of(study(trials=3))
    assert "too few trials to tell" in figures_space.importance(study(trials=3), page).caption


def test_parallel_coordinates_have_a_line_a_finished_trial_the_winner_on_top() -> None:
    *lines, bar = draw("parallel").data
    assert len(lines) == len(FINISHED)
    assert [line.y[0] for line in lines] == sorted(line.y[0] for line in lines)
    assert (lines[-1].line.color, lines[-1].line.width) == (WIN, 4)
    assert "trial 5" in lines[-1].text
    assert bar.marker.showscale
    texts = [note.text for note in draw("parallel").layout.annotations]
    assert {"query + value", "query + key + value"} <= set(texts)
    assert not [text for text in texts if "[" in text or "None" in text]
    assert [note.text for note in draw("parallel").layout.annotations if note.x == 2] == ["1", "2", "3", "4"]  # epochs


def test_lines_name_their_own_trials_even_where_optuna_reorders_them() -> None:
    scores = {round(trial.score or 0, 4): trial.number for trial in FINISHED}
    assert len(scores) == len(FINISHED)
    low, high = min(scores), max(scores)
    for line in draw("parallel").data[:-1]:
        score = low + line.y[0] * (high - low)
        nearest = min(scores, key=lambda known: abs(known - score))
        assert line.text.startswith(f"<b>trial {scores[nearest]}</b>")


def test_a_hyperparameter_that_some_trials_lack_is_not_none() -> None:
    space = {"rank": {"type": "int", "low": 2, "high": 9}, "decay": {"type": "float", "low": 0, "high": 1}}
    trials = [
        TrialRecord(f"t{n}", n, {"rank": 2 + n} | ({"decay": 0.1 * n} if n else {}), 0, COMPLETE)
        .with_report({"score": 0.1 * n})
        for n in range(4)
    ]  # fmt: skip
    texts = [note.text for note in draw("parallel", bare(*trials, space=space)).layout.annotations]
    assert "not used" in texts
    assert "None" not in texts


def test_the_heat_map_has_logarithmic_axes_and_every_trial() -> None:
    figure = draw("heat_map")
    surface, *marks = figure.data
    assert surface.type == "contour"
    assert figure.layout.xaxis.type == figure.layout.yaxis.type == "log"
    places = {(x, y) for each in marks for x, y in zip(each.x, each.y, strict=True)}
    assert places == {(trial.params["learning_rate"], trial.params["rank"]) for trial in RECORD.trials}
    low, high = figure.layout.xaxis.range
    assert all(low < math.log10(x) < high for x, _ in places)


def test_a_choice_of_doubling_ranks_is_logarithmic_too() -> None:
    space = {
        "rank": {"type": "choice", "values": [2, 4, 8, 16]},
        "learning_rate": {"type": "float", "low": 0.0, "high": 1},
    }
    trials = [
        TrialRecord(f"t{n}", n, {"rank": 2**n, "learning_rate": 0.1 * n}, 0, COMPLETE).with_report({"score": 0.1 * n})
        for n in range(1, 5)
    ]
    figure = draw("heat_map", bare(*trials, space=space))
    assert figure.layout.yaxis.type == "log"
    assert figure.layout.xaxis.type != "log"


def test_ticks_of_a_logarithmic_axis_lie_in_it() -> None:
    axis = log_axis([1e-4, 5e-3])
    assert axis["ticktext"] == ["0.0001", "0.0003", "0.001", "0.003"]
    assert log_axis([2, 32])["tickvals"] == [2, 4, 8, 16, 32]


def test_rungs_say_how_many_were_stopped_at_each() -> None:
    figure = draw("rungs")
    assert [note.text for note in figure.layout.annotations] == ["rung 1: 1 stopped", "rung 2: 4 stopped"]
    assert [line.x0 for line in figure.layout.shapes] == [500.0, 1500.0]
    curves = [each for each in figure.data if each.name.startswith("Trial")]
    assert len(curves) == sum(bool(trial.reports) for trial in RECORD.trials)
    assert curves[-1].line.color == WIN


@pytest.mark.parametrize("cost", ["adapter_mb", "train_seconds"])
def test_nothing_beats_what_is_on_the_pareto_front(cost: str) -> None:
    figure = figures_search.pareto(RECORD, cost).figure
    assert figure is not None
    beaten, front = figure.data[:2]
    on, off = (list(zip(each.x, each.y, strict=True)) for each in (front, beaten))
    assert len(on) + len(off) == len(FINISHED)
    better = [(x, y, at) for x, y in [*on, *off] for at in on if (x <= at[0] and y >= at[1]) and (x, y) != at]
    assert better == []
    assert all(any(x <= at[0] and y >= at[1] for x, y in on) for at in off)


def test_reruns_show_means_and_intervals() -> None:
    figure = draw("reruns")
    means = [each for each in figure.data if each.name.startswith("mean")]
    assert [each.y[0] for each in means] == ["trial 5 (winner)", "trial 14", "trial 2"]
    assert all(each.error_x.array[0] > 0 for each in means)
    assert len(trace(figure, "one seed").x) == 9


def test_data_bars_fold_rare_labels() -> None:
    counts = {f"label {place}": 100 - place for place in range(20)}
    page = {"data": {"splits": {"train": {"total_samples": sum(counts.values()), "label_counts": counts}, "test": {}}}}
    figure = draw("data_bars", page=page)
    assert [each.name for each in figure.data][-1] == "13 other labels"
    assert sum(each.y[0] for each in figure.data) == sum(counts.values())
    assert [list(each.x) for each in figure.data] == [["train"]] * 8


def test_adapter_sizes_are_means_by_rank() -> None:
    (bars,) = draw("adapter_sizes").data
    expected: dict[str, list[float]] = {}
    for trial in sorted(RECORD.trials, key=lambda trial: trial.params["rank"]):
        if trial.reports:
            expected.setdefault(str(trial.params["rank"]), []).append(trial.reports[-1]["adapter_mb"])
    assert list(bars.x) == list(expected)
    assert list(bars.y) == pytest.approx([sum(values) / len(values) for values in expected.values()])
    assert [colour == WIN for colour in bars.marker.color] == [name == "3" for name in expected]


def test_grades_are_counted() -> None:
    page = page_of(RECORD, texts(20))
    (pie,) = draw("grades", page=page).data
    assert dict(zip(pie.labels, pie.values, strict=True)) == figures_charts.grade_counts(page)
    assert sum(pie.values) == 20


def test_similarities_stand_beside_references_and_alerts() -> None:
    page = page_of(RECORD, [{"name": "a", "metrics": {"ssim": 0.5, "fashion_clip": 0.6, "colour": 0.7}}], FASHION)
    figure = draw("similarities", page=page)
    assert list(figure.data[0].x) == [0.5, 0.6, 0.7]
    assert list(trace(figure, "reference").x) == [0.326, 0.523, 0.012]
    assert list(trace(figure, "alert below").x) == [0.2, 0.3]


def test_rounds_have_a_curve_each_and_alert_lines() -> None:
    page = page_of(RECORD, benchmark=FASHION, rounds=rounds(5, FASHION))
    figure = draw("rounds", page=page)
    assert list(trace(figure, "total loss").y) == pytest.approx([0.8, 0.7, 0.6, 0.5, 0.4])
    assert sorted(line.y0 for line in figure.layout.shapes) == [0.2, 0.3, 0.4, 0.8]
    assert "first study" in figures_charts.round_trend(RECORD, page_of(RECORD)).caption


def test_points_of_the_components_sum_to_the_score() -> None:
    page = page_of(RECORD)
    figure = draw("breakdown", page=page)
    assert sum(trace(figure, "reached").x) == pytest.approx(page["lora_tuning"]["overall_tuning_score"])
    assert sum(trace(figure, "reached").x) + sum(trace(figure, "still to gain").x) == pytest.approx(1.0)


def test_work_has_a_lane_for_what_was_measured() -> None:
    page = page_of(RECORD)
    points = page["performance"]["engines"][0]["points"]
    figure = draw("work", page=page)
    assert len(figure.data) == 3  # no GPU here
    assert list(figure.data[0].y) == [point["samples_per_second"] for point in points]


def test_the_timeline_has_a_bar_a_trial() -> None:
    figure = draw("timeline")
    assert {each.name: len(each.y) for each in figure.data} == {"complete": 10, "failed": 1, "stopped early": 5}
    assert figure.data[0].x[0] == 18_000  # milliseconds


def test_an_interrupted_trial_is_not_called_failed() -> None:
    trials = [
        TrialRecord(state, n, {}, 0, state, started=5.0, finished=9.0) for n, state in enumerate([FAILED, INTERRUPTED])
    ]
    (bars,) = draw("timeline", bare(*trials)).data
    assert bars.name == "failed or interrupted"
    assert list(bars.marker.color) == [LOOKS[FAILED][0], LOOKS[INTERRUPTED][0]]


def test_texts_from_data_are_shown_letter_by_letter() -> None:
    trial = TrialRecord("a", 0, {"rank": EVIL}, 0, COMPLETE, message=EVIL).with_report({"score": 0.5})
    record = bare(trial, replace(trial, trial_id="b", number=1, params={"rank": "y"}).with_report({"score": 0.6}))
    for name in ("history", "parallel", "rungs"):
        shown = FIGURES[name](record, {})
        if shown.figure is not None:
            text = json.dumps(shown.to_json())
            assert "<script" not in text
            assert "<img" not in text


def test_both_themes_set_the_same_things() -> None:
    light, dark = themes()["light"], themes()["dark"]
    assert light["layout"].keys() == dark["layout"].keys()
    assert light["layout"]["font"]["color"] != dark["layout"]["font"]["color"]


def test_importing_loads_nothing_heavy() -> None:
    program = (
        "import sys\nimport tuner.report.page, tuner.report.training_charts\n"
        "heavy = {'plotly', 'optuna', 'jinja2', 'matplotlib', 'numpy', 'torch', 'scipy', 'ray'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize(("samples", "shift"), [(500, 0), (512, 0), (510, 9)])
def test_a_report_that_overshoots_a_rung_still_counts_there(samples: int, shift: int) -> None:
    rows = 1000 + shift
    reports = tuple({"samples": float(n), "score": 0.5, "epoch": n / rows} for n in (samples,))
    stopped = [TrialRecord(f"s{n}", n, {}, 0, PRUNED, reports=reports, best=0) for n in range(3)]
    whole = tuple({"samples": n * rows / 2, "score": 0.6, "epoch": n / 2} for n in (1, 2, 3, 4))
    record = bare(*stopped, TrialRecord("w", 3, {}, 0, COMPLETE, reports=whole, best=3))
    record = replace(record, config={"search": {"asha": {"grace_epochs": 0.5, "reduction_factor": 3.0}}})
    labels = [note.text for note in draw("rungs", record).layout.annotations]
    assert labels[0] == "rung 1: 3 stopped"


@pytest.mark.parametrize("values", [[1.2e-4, 2.5e-4], [5.0, 7.0], [9.0, 15.0], [2.0, 32.0], [1e-4, 5e-3]])
def test_a_logarithmic_axis_has_numbers_on_it(values: list[float]) -> None:
    axis = log_axis(values)
    assert len(axis["tickvals"]) >= 2
    assert len(axis["tickvals"]) == len(axis["ticktext"])
