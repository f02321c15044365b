"""The sampler: start points first, the same again for a seed, and Optuna is told the truth."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from optuna.trial import TrialState

from tests.study.factory import SPACE, START
from tuner.config_space import parse_entry
from tuner.store.records import COMPLETE, FAILED, PRUNED, RUNNING, TrialRecord
from tuner.study.sampler import StudySampler, seed_of
from tuner.study.space import Space


def make_sampler(**settings: Any) -> StudySampler:
    space = Space({name: parse_entry(raw) for name, raw in SPACE.items()})
    return StudySampler(space, **{"seed": 0, "startup_trials": 3, **settings})


def run(sampler: StudySampler, count: int) -> list[dict[str, Any]]:
    """Run trials that score best at learning rate 0.01."""
    found = []
    for _ in range(count):
        asked = sampler.ask()
        sampler.report(asked.trial_id, 100, -abs(math.log10(asked.params["learning_rate"]) + 2))
        sampler.tell(asked.trial_id, COMPLETE)
        found.append(asked.params)
    return found


def test_start_points_come_first_and_what_they_leave_out_is_drawn() -> None:
    sampler = make_sampler(start_points=[START, {"rank": 2}])
    first, second = sampler.ask(), sampler.ask()
    assert {name: first.params[name] for name in START} == START
    assert second.params["rank"] == 2
    assert (first.number, first.trial_id, second.trial_id) == (0, "t0000", "t0001")


def test_the_same_seed_asks_for_the_same_trials() -> None:
    assert run(make_sampler(seed=5), 12) == run(make_sampler(seed=5), 12)
    assert run(make_sampler(seed=5), 12) != run(make_sampler(seed=6), 12)


def test_it_learns() -> None:
    distances = [abs(math.log10(params["learning_rate"]) + 2) for params in run(make_sampler(startup_trials=10), 60)]
    assert sum(distances[30:]) / 30 < 0.7 * sum(distances[:10]) / 10


def test_optuna_is_told_the_truth() -> None:
    sampler = make_sampler()
    ids = [sampler.ask().trial_id for _ in range(4)]
    sampler.report(ids[0], 50, 0.8)
    sampler.report(ids[0], 100, 0.7)
    sampler.tell(ids[0], COMPLETE)
    sampler.report(ids[1], 50, 0.2)
    sampler.tell(ids[1], PRUNED)
    sampler.report(ids[2], 50, math.nan)
    sampler.tell(ids[2], FAILED)
    complete, pruned, failed, running = (sampler.frozen(number) for number in range(4))
    assert (complete.state, complete.value) == (TrialState.COMPLETE, 0.8)
    assert complete.intermediate_values == {50: 0.8, 100: 0.7}
    assert (pruned.state, pruned.intermediate_values) == (TrialState.PRUNED, {50: 0.2})
    assert (failed.state, failed.value, failed.intermediate_values) == (TrialState.FAIL, None, {})
    assert running.state is TrialState.RUNNING


def test_a_resumed_sampler_knows_earlier_trials_and_goes_on_with_running_ones() -> None:
    before = make_sampler(start_points=[START])
    asked = [before.ask() for _ in range(3)]
    done = TrialRecord("t0000", 0, asked[0].params, 1).with_report({"score": 0.5, "samples": 50})
    earlier = [
        replace(done, state=COMPLETE),
        replace(done, trial_id="t0001", number=1, params=asked[1].params, state=PRUNED),
        replace(done, trial_id="t0002", number=2, params=asked[2].params, state=RUNNING),
    ]
    sampler = make_sampler(start_points=[START], earlier=earlier)
    states = [TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING]
    assert [sampler.frozen(number).state for number in range(3)] == states
    assert [sampler.frozen(number).params for number in range(3)] == [before.frozen(n).params for n in range(3)]
    sampler.report("t0002", 100, 0.4)
    sampler.tell("t0002", COMPLETE)
    assert sampler.frozen(2).value == 0.5
    assert sampler.frozen(2).intermediate_values == {50: 0.5, 100: 0.4}
    following = sampler.ask()
    assert following.number == 3
    assert following.params != asked[0].params


@pytest.mark.parametrize("parts", [(0,), (1,), (1, 2), (12,)])
def test_seeds_differ_and_are_valid(parts: tuple[int, ...]) -> None:
    assert 0 <= seed_of(7, *parts) < 2**31
    assert seed_of(7, *parts) == seed_of(7, *parts) != seed_of(8, *parts)
