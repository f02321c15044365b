"""ASHA decides as a small reference does, and as Ray's own scheduler where the two rules are the same."""

from __future__ import annotations

import json
import math
import random
from types import SimpleNamespace
from typing import Any

import numpy
import pytest

from tuner.study.schedule import CONTINUE, STOP, Asha


class Reference:
    """The rule in its plainest form."""

    def __init__(self, grace: float, factor: float) -> None:
        self.rungs: list[tuple[float, dict[str, float]]] = [(grace * factor**k, {}) for k in range(12)]
        self.factor = factor

    def on_report(self, trial: str, samples: int, score: float) -> str:
        reached = [recorded for milestone, recorded in self.rungs if samples >= milestone]
        if not reached or trial in reached[-1]:
            return CONTINUE
        recorded = reached[-1]
        stop = bool(recorded) and score < numpy.percentile(list(recorded.values()), 100 * (1 - 1 / self.factor))
        recorded[trial] = score
        return STOP if stop else CONTINUE


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("factor", [2.0, 3.0, 4.5])
def test_decides_as_the_reference(seed: int, factor: float) -> None:
    draw = random.Random(seed)
    asha, reference = Asha(100, factor), Reference(100, factor)
    running = {f"t{i}": 0 for i in range(30)}
    decisions = []
    while running:
        trial = draw.choice(sorted(running))
        running[trial] += draw.randrange(20, 300)
        score = draw.random()
        decision = asha.on_report(trial, running[trial], score)
        assert decision == reference.on_report(trial, running[trial], score)
        decisions.append(decision)
        if decision == STOP or running[trial] > 5000:
            del running[trial]
    assert {STOP, CONTINUE} == set(decisions)


def test_decides_as_ray_when_no_rung_is_jumped_over() -> None:
    from ray.tune.schedulers import AsyncHyperBandScheduler

    draw = random.Random(0)
    ray_asha: Any = AsyncHyperBandScheduler(
        time_attr="samples", metric="score", mode="max", max_t=100_000, grace_period=100, reduction_factor=3
    )
    asha = Asha(100, 3)
    trials = [SimpleNamespace(trial_id=f"t{i}") for i in range(25)]
    for trial in trials:
        ray_asha.on_trial_add(None, trial)
    stopped: set[str] = set()
    for step in range(1, 30):
        for trial in trials:
            if trial.trial_id in stopped:
                continue
            score = draw.random()
            ours = asha.on_report(trial.trial_id, 100 * step, score)
            theirs = ray_asha.on_trial_result(None, trial, {"samples": 100 * step, "score": score})
            assert ours == theirs.lower()
            if ours == STOP:
                stopped.add(trial.trial_id)
    assert 0 < len(stopped) < len(trials)


@pytest.mark.parametrize("score", [math.nan, math.inf, -math.inf])
def test_a_score_that_is_not_finite_stops_at_once_and_is_not_recorded(score: float) -> None:
    asha = Asha(100, 3)
    assert asha.on_report("t0", 10, score) == STOP
    assert asha.on_report("t1", 100, score) == STOP
    assert asha.cutoff(0) is None


def test_rungs_survive_a_restart() -> None:
    asha = Asha(100, 3)
    for i, score in enumerate([0.5, 0.9, 0.7, 0.8]):
        asha.on_report(f"t{i}", 100, score)
        asha.on_report(f"t{i}", 300, score)
    again = Asha.from_json(json.loads(json.dumps(asha.to_json())))
    assert again.to_json() == asha.to_json()
    assert again.cutoff(0) == asha.cutoff(0)
    assert again.on_report("new", 100, 0.6) == STOP == asha.on_report("new", 100, 0.6)
    assert Asha(100, 3).on_report("new", 100, 0.6) == CONTINUE


@pytest.mark.parametrize(("grace", "factor"), [(0, 3), (-1, 3), (math.nan, 3), (100, 1), (100, 0.5), (100, math.nan)])
def test_refuses_settings_that_make_no_sense(grace: float, factor: float) -> None:
    with pytest.raises(ValueError, match="grace"):
        Asha(grace, factor)
