"""The record as an Optuna study: states, values and hyperparameters are those of the record, whatever it holds."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.study import StudyDirection
from optuna.trial import TrialState

from tests.report.pages import sized
from tests.store.factory import ROWS, study
from tuner.report.optuna_study import optuna_study, pareto_study
from tuner.store.records import COMPLETE, FAILED, INTERRUPTED, PRUNED, RUNNING, StudyRecord, TrialRecord

SPACE: dict[str, Any] = {
    "rank": {"type": "int", "low": 4, "high": 8, "log": True},
    "learning_rate": {"type": "float", "low": 1e-4, "high": 1e-3, "log": True},
    "alpha": {"type": "choice", "values": [8, 16]},
    "modules": {"type": "choice", "values": [["q"], ["q", "v"]]},
    "decay": {"type": "float", "low": 0.0, "high": 0.1, "when": {"alpha": [8]}},
    "schedule": {"type": "constant", "value": "constant"},
}


def holding(*trials: TrialRecord) -> StudyRecord:
    return replace(study(trials=0), config={"space": SPACE}, trials=trials)


def test_states_scores_and_curves_are_the_records() -> None:
    record = study()
    made = optuna_study(record).trials
    assert [trial.number for trial in made] == list(range(16))
    states = {COMPLETE: TrialState.COMPLETE, PRUNED: TrialState.PRUNED, FAILED: TrialState.FAIL}
    for trial, twin in zip(record.trials, made, strict=True):
        assert twin.state == states[trial.state]
        assert twin.values == ([trial.score] if trial.state == COMPLETE else None)
        assert twin.intermediate_values == {int(r["samples"]): r["score"] for r in trial.reports}
        assert "schedule" not in twin.params
        assert twin.params["rank"] == trial.params["rank"]
        assert twin.params["target_modules"] == json.dumps(trial.params["target_modules"])
    assert set(made[0].intermediate_values) == {ROWS // 2, ROWS}


def test_what_is_not_over_or_has_no_score() -> None:
    lost = TrialRecord("c", 2, {}, 0, COMPLETE, reports=({"samples": 5.0, "score": math.nan},))
    record = holding(TrialRecord("a", 0, {}, 0, RUNNING), TrialRecord("b", 1, {}, 0, INTERRUPTED), lost)
    made = optuna_study(record).trials
    assert [trial.state for trial in made] == [TrialState.RUNNING, TrialState.FAIL, TrialState.FAIL]
    assert made[2].intermediate_values == {}


def test_points_outside_the_space_are_held() -> None:
    record = holding(
        TrialRecord("a", 0, {"rank": 64, "learning_rate": 0.5, "alpha": 3, "modules": ["k"], "decay": 0.3}, 0, PRUNED),
        TrialRecord("b", 1, {"rank": 4, "learning_rate": 1e-3, "alpha": 16, "modules": None}, 0, PRUNED),
    )
    first, second = optuna_study(record).trials
    assert first.params == {"rank": 64, "learning_rate": 0.5, "alpha": 3, "modules": '["k"]', "decay": 0.3}
    assert second.params == {"rank": 4, "learning_rate": 1e-3, "alpha": 16, "modules": None}
    assert first.distributions["rank"] == FloatDistribution(4.0, 64.0, log=True)
    assert first.distributions["alpha"] == CategoricalDistribution([3, 16])


def test_a_logarithmic_space_with_a_zero_in_it_is_linear() -> None:
    record = holding(TrialRecord("a", 0, {"rank": 0}, 0, PRUNED), TrialRecord("b", 1, {"rank": 4}, 0, PRUNED))
    assert optuna_study(record).trials[0].distributions["rank"] == FloatDistribution(0.0, 4.0)


SCALARS = st.none() | st.booleans() | st.integers(-9, 9) | st.floats(-9, 9) | st.text(max_size=3)
PARAMS = st.fixed_dictionaries(
    {}, optional={name: SCALARS | st.lists(st.text(max_size=2), max_size=2) for name in SPACE if name != "schedule"}
)


@given(st.lists(PARAMS, max_size=5))
def test_any_values_are_held(params: list[dict[str, Any]]) -> None:
    trials = [TrialRecord(f"t{place}", place, held, 0, PRUNED) for place, held in enumerate(params)]
    for trial, twin in zip(trials, optuna_study(holding(*trials)).trials, strict=True):
        assert {
            name: v if not isinstance(v, list) else json.dumps(v) for name, v in trial.params.items()
        } == twin.params


def test_objectives_of_the_pareto_front() -> None:
    record = sized(study())
    made = pareto_study(record, ["adapter_mb", "train_seconds"])
    assert made.directions == [StudyDirection.MINIMIZE, StudyDirection.MINIMIZE, StudyDirection.MAXIMIZE]
    finished = [trial for trial in record.trials if trial.state == COMPLETE]
    expected = [[t.reports[t.best or 0][name] for name in ("adapter_mb", "train_seconds", "score")] for t in finished]
    assert [trial.values for trial in made.trials] == expected


def test_trials_that_lack_an_objective_are_left_out() -> None:
    assert pareto_study(study(), ["adapter_mb"]).trials == []
    assert optuna_study(study(trials=0)).trials == []


def test_nothing_is_said_on_the_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    optuna_study(study())
    assert capfd.readouterr() == ("", "")
