"""Trials in words: rows, states, parameters, and the means and intervals of re-runs."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from tests.store.factory import study, trial
from tuner.report.trials import (
    params_text,
    rerun_groups,
    samples_seen,
    searched,
    state_word,
    trials_table,
    value_text,
)
from tuner.store.records import Rerun, TrialRecord


def test_one_row_a_trial_in_order() -> None:
    record = study()
    rows = trials_table(record)
    assert [row.number for row in rows] == list(range(16))
    assert record.winner is not None
    assert [row.trial_id for row in rows if row.winner] == [record.winner.trial_id]
    done = record.trials[2]
    assert (rows[2].score, rows[2].samples, rows[2].seconds) == (done.score, 3000, 18.0)
    assert rows[2].params == "rank 27, learning rate 0.00136, epochs 3, alpha 32, query + value"
    assert (rows[6].state, rows[6].score, rows[6].message) == ("failed", None, "the loss is not finite")


def test_best_first_puts_trials_without_a_score_last() -> None:
    rows = trials_table(study(), best_first=True)
    scores = [row.score for row in rows if row.score is not None]
    assert scores == sorted(scores, reverse=True)
    assert rows[-1].score is None


def test_constants_are_not_searched() -> None:
    assert searched(study()) == ["rank", "learning_rate", "epochs", "alpha", "target_modules"]


def test_without_a_space_what_trials_name_was_searched() -> None:
    assert searched(study(config={})) == list(trial(0).params)


def test_ranges_of_one_value_are_not_searched() -> None:
    space = {"rank": {"type": "int", "low": 8, "high": 8}, "alpha": {"type": "choice", "values": [16]}}
    assert searched(study(config={"space": space})) == []


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0010345678, "0.00103"),
        (8, "8"),
        (True, "yes"),
        (None, "default"),
        (["q", "v"], "q + v"),
        ("linear", "linear"),
    ],
)
def test_values_in_words(value: object, text: str) -> None:
    assert value_text(value) == text


def test_params_in_words() -> None:
    assert params_text({"rank": 8, "target_modules": None}) == "rank 8, target modules default"
    assert params_text({"rank": 8, "alpha": 16}, ["alpha", "dropout"]) == "alpha 16"


def test_states_in_words() -> None:
    assert [state_word(state) for state in ("pruned", "complete")] == ["stopped early", "complete"]


def test_samples_of_a_trial_without_reports() -> None:
    assert samples_seen(TrialRecord("t", 0, {}, 0)) == 0


def test_rerun_groups_best_mean_first() -> None:
    record = study()
    groups = rerun_groups(record)
    assert [group.mean for group in groups] == sorted((group.mean for group in groups), reverse=True)
    assert [group.winner for group in groups] == [True, False, False]
    assert all(len(group.scores) == 3 for group in groups)
    assert groups[0].search_score == next(t for t in record.trials if t.trial_id == groups[0].trial_id).score


def test_a_rerun_that_failed_is_left_out() -> None:
    record = study()
    broken = Rerun(record.reruns[0].trial_id, 999, {"score": math.nan}, {})
    assert rerun_groups(replace(record, reruns=(*record.reruns, broken))) == rerun_groups(record)
