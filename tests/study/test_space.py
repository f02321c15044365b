"""The space as Optuna sees it: conditions, lists, constants, defaults, and what changed between two spaces."""

from __future__ import annotations

from typing import Any

import optuna
import pytest

from tuner.config import COMMON_HYPERPARAMETERS
from tuner.config_space import parse_entry
from tuner.errors import StudyError
from tuner.study.space import Space, check_unchanged

ENTRIES: dict[str, Any] = {
    "rank": {"type": "int", "low": 2, "high": 32, "step": 2},
    "learning_rate": {"type": "float", "low": 1e-4, "high": 1e-2, "log": True},
    "epochs": 3,
    "schedule": {"type": "choice", "values": ["constant", "linear"]},
    "warmup_ratio": {"type": "float", "low": 0.05, "high": 0.2, "when": {"schedule": ["linear"]}},
    "target_modules": {"type": "choice", "values": [["q"], ["q", "v"], None]},
}


def make_space(**changes: Any) -> Space:
    return Space({name: parse_entry(raw) for name, raw in {**ENTRIES, **changes}.items()}, {"margin": 0.3})


def suggest_many(space: Space, count: int = 60) -> list[tuple[dict[str, Any], optuna.trial.FrozenTrial]]:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    found = []
    for _ in range(count):
        trial = study.ask()
        params = space.suggest(trial)
        found.append((params, study.trials[trial.number]))
    return found


def test_every_trial_has_every_hyperparameter_in_its_range() -> None:
    for params, _ in suggest_many(make_space()):
        assert set(params) == {*COMMON_HYPERPARAMETERS, *ENTRIES, "margin"}
        assert params["epochs"] == 3
        assert params["margin"] == 0.3
        assert params["rank"] in range(2, 33, 2)
        assert 1e-4 <= params["learning_rate"] <= 1e-2
        assert params["target_modules"] in (["q"], ["q", "v"], None)


def test_a_conditional_entry_is_asked_only_when_its_condition_holds() -> None:
    seen = set()
    for params, frozen in suggest_many(make_space()):
        seen.add(params["schedule"])
        if params["schedule"] == "linear":
            assert 0.05 <= params["warmup_ratio"] <= 0.2
        else:
            assert "warmup_ratio" not in frozen.params
            assert params["warmup_ratio"] == COMMON_HYPERPARAMETERS["warmup_ratio"]
    assert seen == {"constant", "linear"}


def test_searched_is_what_optuna_stored() -> None:
    space = make_space()
    for params, frozen in suggest_many(space):
        assert space.searched(params) == frozen.params
        assert set(frozen.params) <= set(space.distributions())


def test_the_fingerprint_ignores_order_and_nothing_else() -> None:
    space = make_space()
    backwards = Space(dict(reversed(space.entries.items())))
    assert backwards.fingerprint() == space.fingerprint()
    assert make_space(epochs=4).fingerprint() != space.fingerprint()


def test_a_changed_space_is_refused_with_every_change() -> None:
    rank = {"type": "int", "low": 2, "high": 64}
    now = make_space(rank=rank, batch_size=8)
    del now.entries["schedule"], now.entries["warmup_ratio"]
    with pytest.raises(StudyError) as caught:
        check_unchanged(make_space(), now)
    text = str(caught.value)
    assert "rank was 2..32 in steps of 2 and is now 2..64" in text
    assert "batch_size was added" in text
    assert "schedule was removed" in text
    assert "learning_rate" not in text
    check_unchanged(make_space(), make_space())
