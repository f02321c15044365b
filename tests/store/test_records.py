"""Records: JSON and back is the same, and the best report is the one with the highest score."""

from __future__ import annotations

import json
import math

import pytest

from tests.store.factory import study, trial
from tuner.store.records import FAILED, StudyRecord, TrialRecord


def test_a_study_survives_json_unchanged() -> None:
    record = study()
    assert StudyRecord.from_json(json.loads(json.dumps(record.to_json()))) == record


def test_a_study_without_winner_or_trials_survives_json() -> None:
    record = study(trials=0)
    assert record.winner is None
    assert StudyRecord.from_json(json.loads(json.dumps(record.to_json()))) == record


@pytest.mark.parametrize(
    "wrong", [{"created": None}, {"data": None}, {"config": []}, {"winner": []}, {"winner": "oops"}, {"name": 3}]
)
def test_what_is_no_record_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises((TypeError, AttributeError)):
        StudyRecord.from_json({**study().to_json(), **wrong})


def test_a_winner_whose_score_was_not_finite_survives_json() -> None:
    data = json.loads(json.dumps(study().to_json()))
    data["winner"] |= {"score": None, "interval": [None, 0.9]}
    winner = StudyRecord.from_json(data).winner
    assert winner is not None
    assert math.isnan(winner.score)
    assert winner.interval is None


def test_a_best_report_that_is_not_there_is_refused() -> None:
    data = json.loads(json.dumps(study().to_json()))
    data["trials"][0]["best"] = 99
    with pytest.raises(TypeError, match="has no report 99"):
        StudyRecord.from_json(data)


def test_a_record_needs_its_name() -> None:
    data = study().to_json()
    del data["name"]
    with pytest.raises(TypeError, match="name"):
        StudyRecord.from_json(data)


def test_best_is_the_highest_score_not_the_last() -> None:
    record = TrialRecord("t", 0, {}, 0)
    assert record.score is None
    for score in (0.5, 0.8, 0.7):
        record = record.with_report({"score": score, "samples": 1.0})
    assert (record.best, record.score, len(record.reports)) == (1, 0.8, 3)


def test_the_first_of_equal_scores_stays_best() -> None:
    record = TrialRecord("t", 0, {}, 0).with_report({"score": 0.8}).with_report({"score": 0.8})
    assert record.best == 0


@pytest.mark.parametrize("metrics", [{"score": math.nan}, {"loss": 1.0}])
def test_a_report_without_a_score_is_kept_but_never_best(metrics: dict[str, float]) -> None:
    record = TrialRecord("t", 0, {}, 0).with_report(metrics)
    assert (record.best, record.score, len(record.reports)) == (None, None, 1)
    assert record.with_report({"score": 0.1}).best == 1


def test_a_failed_trial_has_no_score() -> None:
    assert trial(6, FAILED).score is None
