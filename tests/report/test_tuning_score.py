"""Tests of tuner/report/tuning_score.py and words.py: the score's part of a report, and a study in plain words."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from tests.store.factory import study, trial
from tuner.config import ScoreConfig
from tuner.report.schema import BenchmarkAnalysis, Distribution, ImportancePart, LoraTuning, StartPart
from tuner.report.settings import settings_of
from tuner.report.tuning_score import tuning_score
from tuner.report.words import summary
from tuner.score import overall_score
from tuner.store.records import FAILED, RUNNING, StudyRecord


def scored(record: StudyRecord) -> tuple[LoraTuning, list[str]]:
    """The score's part of a record's report."""
    return tuning_score(record, settings_of(record))


def test_the_part_agrees_with_the_score_itself() -> None:
    record = study()
    assert record.winner is not None
    # as a real engine leaves it: without component scores of its own, they are computed
    metrics = {name: value for name, value in record.winner.metrics.items() if not name.startswith("score_")}
    record = replace(record, winner=replace(record.winner, metrics=metrics))
    settings = settings_of(record)
    raw = {component: metrics[metric] for component, metric in settings.sources.items()}
    expected = overall_score(raw, ScoreConfig(), settings.bands)
    found, missing = scored(record)
    assert missing == []
    assert found.training_efficiency == {
        "efficiency_ratio": metrics["efficiency"],
        "grade": expected.grades["efficiency"],
        "score": expected.efficiency,
        "graded_score": 1.0,
    }
    assert found.generation_quality["average_accuracy"] == metrics["accuracy"]
    assert found.generation_quality["score"] == expected.quality
    assert found.feature_preservation["embedding_similarity"] == metrics["preservation"]
    assert found.feature_preservation["grade"] == expected.grades["preservation"]
    assert found.overall_graded_score == pytest.approx(expected.graded_overall)
    assert found.overall_tuning_score == record.winner.score
    assert found.interval == record.winner.interval
    assert found.weights == {"efficiency": 0.2, "quality": 0.4, "preservation": 0.4}


def test_what_a_study_recorded_of_its_components_is_kept() -> None:
    record = study()
    assert record.winner is not None
    found, _ = scored(record)
    assert found.generation_quality["score"] == record.winner.metrics["score_quality"]


def test_before_there_is_a_winner_the_best_trial_counts() -> None:
    record = study(state=RUNNING, winner=None, reruns=())
    found, missing = scored(record)
    assert found.overall_tuning_score == max(each.score for each in record.trials if each.score is not None)
    assert (found.interval, missing) == (None, [])


def test_a_study_without_a_report_has_no_score() -> None:
    for record in (study(trials=0, winner=None), replace(study(trials=0, winner=None), trials=(trial(6, FAILED),))):
        found, missing = scored(record)
        assert (found.overall_tuning_score, found.overall_graded_score, found.overall_grade) == (None, None, "none")
        assert found.generation_quality == {
            "average_accuracy": None, "grade": "none", "score": None, "graded_score": None
        }  # fmt: skip
        assert missing == ["No trial has reported yet, so there is no score."]


def with_metric(name: str, value: float | None) -> StudyRecord:
    """A study whose winner has that value of a metric, or lacks it."""
    record = study()
    assert record.winner is not None
    metrics = {key: each for key, each in record.winner.metrics.items() if not key.startswith("score_")}
    metrics.pop(name)
    if value is not None:
        metrics[name] = value
    return replace(record, winner=replace(record.winner, metrics=metrics))


@pytest.mark.parametrize("value", [None, math.nan, math.inf])
def test_a_missing_metric_is_named_and_makes_no_number(value: float | None) -> None:
    found, missing = scored(with_metric("accuracy", value))
    assert found.generation_quality["score"] is None
    assert found.overall_graded_score is None
    assert missing == ["The quality was not measured: no trial reports accuracy."]


def test_a_percentage_where_a_share_belongs_is_named() -> None:
    found, missing = scored(with_metric("accuracy", 84.3))
    assert found.generation_quality["score"] is None
    assert missing == ["The quality cannot be scored: a metric is 84.3 and must lie between 0 and 1."]


def told(record: StudyRecord, **changes: Any) -> str:
    """The summary as one text."""
    benchmark = BenchmarkAnalysis(
        source="8 texts of the winner on test rows",
        average_metrics={"avg_total_loss": 0.31},
        performance_distribution=Distribution(excellent=5, good=2, average=0, poor=1),
        benchmark_comparison={},
        weights={},
        grades={},
    )
    parts = {
        "benchmark": benchmark,
        "compared": (),
        "start": StartPart(trial=0, params={}, score=0.7, gain=0.05),
        "importance": ImportancePart(shares={"learning_rate": 0.6, "rank": 0.4}, basis="9 trials"),
        **changes,
    }
    return " ".join(summary(record, settings_of(record), scored(record)[0], **parts))


def test_the_summary_says_who_won_why_and_how_sure() -> None:
    record = study()
    text = told(record)
    assert record.winner is not None
    assert "won: rank " in text
    assert f"{record.winner.score:.3f} (95 % interval" in text
    assert "On test rows, which no choice was made on, its accuracy is" in text
    assert "scored 0.700: the search gained 0.050." in text
    assert "Of 8 texts that it answered, 5 excellent, 2 good, 1 poor; their mean total loss is 0.310." in text
    assert "The search ran 16 trials: " in text
    assert "The whole study took 5 min." in text
    assert "The learning rate mattered most: 60 % of the score's variance (9 trials)." in text
    assert "nan" not in text.lower()


def test_a_search_that_gained_nothing_says_so() -> None:
    text = told(study(), start=StartPart(trial=0, params={}, score=0.9, gain=-0.01))
    assert "found nothing better than its start point" in text


def test_a_score_that_is_null_is_said_to_be_unknown() -> None:
    record = study()
    assert record.winner is not None
    lost = replace(record, winner=replace(record.winner, score=None, interval=(None, 0.9)))  # type: ignore[arg-type]
    found, _ = scored(lost)
    assert (found.overall_tuning_score, found.interval) == (None, None)
    assert "Its overall tuning score is not known." in told(lost)


def test_an_unfinished_study_claims_no_winner() -> None:
    text = told(study(state=RUNNING, winner=None, reruns=(), finished=None), start=None)
    assert "is still running and has chosen no winner. The best so far is trial" in text
    assert "won" not in text
    empty = told(study(trials=0, winner=None, state="interrupted", finished=None), start=None)
    assert empty.startswith("The study was interrupted, and no trial has reported yet.")
