"""The first trials: every part of every range once, within the space, as Optuna would count it."""

from __future__ import annotations

import math

from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from tuner.config import Choice, Constant, FloatRange, IntRange
from tuner.study.design import latin_hypercube
from tuner.study.space import Space

SPACE = Space(
    {
        "rank": IntRange(type="int", low=2, high=33, log=True),
        "learning_rate": FloatRange(type="float", low=1e-4, high=1e-2, log=True),
        "epochs": IntRange(type="int", low=1, high=4),
        "dropout": Choice(type="choice", values=[0.0, 0.1]),
        "target_modules": Choice(type="choice", values=[["query"], ["query", "value"]]),
        "batch_size": Constant(value=8),
        "warmup_ratio": FloatRange(type="float", low=0.0, high=0.2, when={"dropout": [0.1]}),
    }
)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 20), st.integers(0, 2**31))
def test_every_point_is_one_that_optuna_could_draw(count: int, seed: int) -> None:
    points = latin_hypercube(SPACE, count, seed)
    assert len(points) == count
    known = SPACE.distributions(conditional=False)
    for point in points:
        assert point.keys() == known.keys()
        assert "warmup_ratio" not in point
        for name, value in point.items():
            distribution = known[name]
            assert distribution._contains(distribution.to_internal_repr(value))
            if isinstance(distribution, IntDistribution):
                assert isinstance(value, int)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 16), st.integers(0, 2**31))
def test_each_part_of_equal_chance_has_one_point(count: int, seed: int) -> None:
    points = latin_hypercube(SPACE, count, seed)
    shares = [math.log(point["learning_rate"] / 1e-4) / math.log(100) for point in points]
    assert sorted(int(share * count + 1e-9) for share in shares) == list(range(count))


def test_values_of_a_choice_and_of_few_integers_are_even() -> None:
    points = latin_hypercube(SPACE, 8, 0)
    assert sorted(point["epochs"] for point in points) == [1, 1, 2, 2, 3, 3, 4, 4]
    assert sorted(point["dropout"] for point in points) == [0.0] * 4 + [0.1] * 4


def test_the_seed_decides() -> None:
    assert latin_hypercube(SPACE, 5, 1) == latin_hypercube(SPACE, 5, 1)
    assert latin_hypercube(SPACE, 5, 1) != latin_hypercube(SPACE, 5, 2)


def test_what_is_drawn_is_of_all_kinds() -> None:
    kinds = {type(distribution) for distribution in SPACE.distributions().values()}
    assert kinds == {IntDistribution, FloatDistribution, CategoricalDistribution}
