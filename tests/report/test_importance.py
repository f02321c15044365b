"""Importance: finds what moves the score, always the same, and says when it cannot tell."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest

from tests.store.factory import study
from tuner.report.importance import importance
from tuner.store.records import COMPLETE, PRUNED, StudyRecord, TrialRecord

SPACE: dict[str, Any] = {
    "rank": {"type": "int", "low": 2, "high": 32, "log": True},
    "learning_rate": {"type": "float", "low": 1e-4, "high": 5e-3, "log": True},
    "target_modules": {"type": "choice", "values": [["q"], ["q", "v"]]},
}


def made(count: int, state: str = COMPLETE) -> StudyRecord:
    """Trials whose score is the learning rate's alone; only the first report is shared by all."""
    draw = random.Random(0)
    trials = []
    for number in range(count):
        chosen = {
            "rank": draw.randint(2, 32),
            "learning_rate": 10 ** draw.uniform(-4, -2.3),
            "target_modules": draw.choice(SPACE["target_modules"]["values"]),
        }
        score = 0.9 - (chosen["learning_rate"] - 1e-3) ** 2 * 1e4
        trial = TrialRecord(f"t{number}", number, chosen, 0, state).with_report({"samples": 500.0, "score": score})
        trials.append(trial)
    return replace(study(trials=0), config={"space": SPACE}, trials=tuple(trials))


def test_the_hyperparameter_that_moves_the_score_comes_first() -> None:
    found = importance(made(24))
    assert next(iter(found.shares)) == "learning_rate"
    assert found.shares["learning_rate"] > 0.7
    assert sum(found.shares.values()) == pytest.approx(1.0)
    assert found.basis == "best scores of 24 finished trials; a rough guide"
    assert importance(made(24)) == found


def test_many_trials_are_no_rough_guide() -> None:
    assert importance(made(40)).basis == "best scores of 40 finished trials"


def test_stopped_trials_are_compared_where_all_can_be() -> None:
    found = importance(made(24, PRUNED))
    assert next(iter(found.shares)) == "learning_rate"
    assert found.basis == "scores of 24 trials after 500 rows; a rough guide"


def test_too_few_trials() -> None:
    found = importance(made(7))
    assert found.shares == {}
    assert found.basis == "too few trials to tell: 7 of the 8 needed"


def test_no_trials() -> None:
    assert importance(study(trials=0)).shares == {}


def test_equal_scores_tell_nothing() -> None:
    record = made(10)
    same = tuple(replace(trial, reports=({"samples": 500.0, "score": 0.5},)) for trial in record.trials)
    assert "do not differ" in importance(replace(record, trials=same)).basis


def test_conditional_hyperparameters_of_some_trials_are_left_out() -> None:
    record = made(12)
    first, *rest = record.trials
    mixed = (replace(first, params={**first.params, "extra": 1}), *rest)
    space = {**SPACE, "extra": {"type": "int", "low": 1, "high": 3, "when": {"rank": [8]}}}
    assert "extra" not in importance(replace(record, trials=mixed, config={"space": space})).shares


def test_optuna_is_quiet(capfd: pytest.CaptureFixture[str]) -> None:
    importance(made(12))
    assert capfd.readouterr() == ("", "")
