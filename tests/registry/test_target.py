"""Splits, shadows and limits, and what they refuse."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tuner.errors import ConfigError
from tuner.registry import Limits, Target
from tuner.registry.target import check_words

A, B, C = ("a" * 12, "b" * 12, "c" * 12)


@settings(deadline=None)
@given(st.dictionaries(st.from_regex(r"[0-9a-f]{12}", fullmatch=True), st.floats(1e-6, 1e6), min_size=1, max_size=5))
def test_shares_sum_to_one_and_keep_their_ratio(weights: dict[str, float]) -> None:
    target = Target.of(weights)
    shares = {share.version: share.weight for share in target.split}
    assert shares.keys() == weights.keys()
    assert math.fsum(shares.values()) == pytest.approx(1)
    assert all(0 < share <= 1 for share in shares.values())
    first = next(iter(weights))
    for version, weight in weights.items():
        assert shares[version] * weights[first] == pytest.approx(shares[first] * weight)


def test_the_first_of_a_split_stays_first_and_the_size_of_weights_does_not_matter() -> None:
    assert Target.of({A: 9, B: 1}) == Target.of({A: 90, B: 10}) != Target.of({B: 10, A: 90})
    assert Target.of({B: 10, A: 90}).split[0].version == B
    assert str(Target.of({B: 10, A: 90}, C)) == f"{B} 10 %, {A} 90 %, shadow {C}"
    assert str(Target.of({A: 7})) == A
    assert Target.of({A: 1, B: 1}, C).versions == {A, B, C}


def test_every_mistake_at_once() -> None:
    with pytest.raises(ConfigError) as error:
        Target.of({A: 0, "x": 1, B: math.nan}, A, Limits(max_errors=1.0, max_latency_ms=-1, requests=0))
    names = [problem.name for problem in error.value.problems]
    weights = [f"weight of {A}", f"weight of {B}"]
    assert names == ["version", *weights, "shadow", "max_errors", "max_latency_ms", "requests"]


@pytest.mark.parametrize("limits", [Limits(), Limits(max_latency_ratio=0.5), Limits(max_latency_ratio=math.inf)])
def test_limits_that_limit_nothing(limits: Limits) -> None:
    with pytest.raises(ConfigError):
        Target.of({A: 1}, limits=limits)


def test_no_split_is_no_target() -> None:
    with pytest.raises(ConfigError, match="one version or more"):
        Target.of({})


def test_words_are_one_line() -> None:
    check_words(by="cli:ada", why="鞋 is better")
    for by, why in (("a\nb", ""), ("a", "\x1b[2J"), ("a", "x" * 501), (" ", "")):
        with pytest.raises(ConfigError):
            check_words(by=by, why=why)
