"""Tests of tuner/report/standing.py and settings.py: where a study stands, and how it is judged."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from tests.store.factory import study, trial
from tuner.errors import ConfigError
from tuner.report.settings import settings_of
from tuner.report.standing import best_trial, standing
from tuner.score_benchmark import Benchmark
from tuner.store.outputs import Output, Outputs
from tuner.store.records import FAILED, RUNNING, StudyRecord


def benchmark(record: StudyRecord) -> Benchmark:
    """How the record's task is judged."""
    return settings_of(record).judged_by


def output(number: int, sure: float) -> Output:
    """One text, answered with that probability of the right label."""
    metrics = {"label_probability": sure, "accuracy": float(sure >= 0.5), "preservation": 0.9}
    return Output(f"text_{number}", "a text", "positive", "positive", "", metrics)


def test_the_winners_outputs_go_first() -> None:
    record = study()
    outputs = Outputs("t000", "test", (output(1, 0.95), output(2, 0.2)))
    found = standing(record, benchmark(record), outputs)
    assert record.winner is not None
    assert found.overall == record.winner.score
    assert found.source == "2 texts of the winner on test rows"
    assert [item.grade for item in found.items] == ["excellent", "poor"]
    assert found.averages["certainty"] == pytest.approx(0.575)
    assert found.averages["total_loss"] == pytest.approx(0.6 * 0.425 + 0.2 * 0.5 + 0.2 * 0.1)


def test_else_the_winners_own_metrics() -> None:
    record = study()
    found = standing(record, benchmark(record))
    assert record.winner is not None
    assert found.averages["accuracy"] == record.winner.metrics["accuracy"]
    assert math.isnan(found.averages["certainty"])  # not measured in the search: not made up
    assert math.isnan(found.averages["total_loss"])
    assert found.items == ()


def test_a_running_study_stands_where_its_best_trial_is() -> None:
    record = study(state=RUNNING, winner=None, reruns=(), finished=None)
    best = best_trial(record)
    assert best is not None
    found = standing(record, benchmark(record), Outputs("t000", "test", (output(1, 0.9),)))
    assert found.overall == best.score == max(t.score for t in record.trials if t.score is not None)
    assert found.source.startswith(f"trial {best.number}, the best so far")


def test_a_study_without_a_report_stands_nowhere() -> None:
    for trials in ((), (trial(6, FAILED),)):
        record = study(trials=0, winner=None)
        found = standing(replace(record, trials=trials), benchmark(record))
        assert found.source == "nothing yet"
        assert math.isnan(found.overall)
        assert all(math.isnan(value) for value in found.averages.values())


def test_settings_are_the_configs_then_the_tasks() -> None:
    config = {
        **study().config,
        "benchmark": {"preset": "balanced"},
        "alerts": {"below": {"accuracy": 0.8}},
        "score": {"bands": {"quality": {"excellent": 0.8, "good": 0.7, "average": 0.6, "higher_is_better": True}}},
    }
    found = settings_of(study(config=config))
    assert found.judged_by.weights["certainty"] == 0.33
    assert found.judged_by.measure("accuracy").alert_below == 0.8
    assert found.bands["quality"].excellent == 0.8
    assert found.sources["quality"] == "accuracy"
    assert settings_of(study(config=config), preset="answers_focused").judged_by.weights["certainty"] == 0.45


def test_a_band_of_a_component_holds_for_the_metric_behind_it() -> None:
    strict = {"excellent": 0.99, "good": 0.98, "average": 0.97, "higher_is_better": True}
    config = {**study().config, "score": {"bands": {"quality": strict}}}
    found = settings_of(study(config=config))
    assert found.judged_by.measure("accuracy").band.excellent == 0.99
    assert found.judged_by.measure("certainty").band.excellent == 0.9


def test_a_score_that_was_not_finite_is_not_known() -> None:
    record = study()
    assert record.winner is not None
    lost = replace(record.winner, score=None, interval=(None, 0.9))  # type: ignore[arg-type]
    found = standing(replace(record, winner=lost), benchmark(record))
    assert math.isnan(found.overall)


def test_rows_that_call_for_another_quality() -> None:
    assert settings_of(study(data={"quality": "macro_f1"})).sources["quality"] == "macro_f1"


@pytest.mark.parametrize(
    ("part", "name"),
    [
        ({"benchmark": {"preset": "nice"}}, "benchmark.preset"),
        ({"benchmark": {"weights": {"certainty": 0.2}}}, "benchmark.weights"),
        ({"alerts": {"webhook": 3}}, "alerts.webhook"),
    ],
)
def test_settings_that_cannot_be_are_named(part: dict[str, object], name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        settings_of(study(config={**study().config, **part}))
    assert [problem.name for problem in caught.value.problems] == [name]


def test_an_unknown_task_is_named() -> None:
    with pytest.raises(ConfigError, match="no such task"):
        settings_of(study(task="cooking"))
