"""Tests of tuner/report/ranges.py: places in a range, and wider and narrower ranges."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuner.config_rules import space_problems
from tuner.config_space import FloatRange, IntRange, contains, parse_entry
from tuner.report.ranges import Range, beyond, end_share, place, value_at, within

RANGES = st.one_of(
    st.builds(
        lambda low, more, log: FloatRange(low=low, high=low * (1 + more), log=log),
        st.floats(1e-6, 1e3), st.floats(0.01, 1e3), st.booleans(),
    ),
    st.builds(
        lambda low, steps, step: IntRange(low=low, high=low + steps * step, step=step),
        st.integers(-5, 50), st.integers(1, 20), st.integers(1, 7),
    ),
    st.builds(lambda low, more: IntRange(low=low, high=low + more, log=True), st.integers(1, 50), st.integers(1, 99)),
)  # fmt: skip


@given(RANGES, st.floats(-0.5, 1.5))
def test_a_value_lies_where_it_was_taken_from(entry: Range, at: float) -> None:
    assert place(entry, value_at(entry, at)) == pytest.approx(at, abs=1e-6)
    assert place(entry, entry.low) == 0
    assert place(entry, entry.high) == 1


@given(RANGES, st.sampled_from(["rank", "learning_rate", "dropout", "own"]), st.sampled_from([1, -1]))
def test_what_lies_beyond_is_outside_and_allowed(entry: Range, name: str, side: int) -> None:
    found = beyond(name, entry, side)
    if found is None or list(space_problems({name: entry}, [name])):
        return  # there is nothing, or the range itself is not allowed
    assert found > entry.high if side > 0 else found < entry.low
    wider = entry.model_copy(update={"high" if side > 0 else "low": found})
    assert list(space_problems({name: parse_entry(wider.model_dump())}, [name])) == []
    assert contains(wider, entry.low)


@given(RANGES, st.floats(0, 1), st.floats(0, 1))
def test_a_part_lies_within_and_can_be(entry: Range, first: float, second: float) -> None:
    low, high = sorted((first, second))
    found = within(entry, low - 0.1, high + 0.1)
    assert entry.low <= found.low <= found.high <= entry.high
    assert contains(entry, found.low)
    if isinstance(entry, FloatRange):
        assert found.low <= value_at(entry, low) * (1 + 1e-9)
        assert found.high >= value_at(entry, high) * (1 - 1e-9)
    if found.low < found.high:
        parse_entry(found.model_dump())


def test_a_high_end_between_two_steps_is_never_passed() -> None:
    entry = IntRange(low=2, high=16, step=4)
    assert place(entry, 14) == 1.0
    assert within(entry, 0.5, 1.0) == IntRange(low=10, high=14, step=4)


def test_one_value_of_a_few_is_more_than_a_tenth() -> None:
    assert end_share(IntRange(low=1, high=2), 0.1) == 0.5
    assert end_share(IntRange(low=0, high=30, step=10), 0.1) == 0.25
    assert end_share(IntRange(low=1, high=100), 0.1) == 0.1
    assert end_share(FloatRange(low=0.0, high=1.0), 0.1) == 0.1


def test_a_domain_that_ends_is_approached_by_halves() -> None:
    assert beyond("dropout", FloatRange(low=0.0, high=0.5), 1) == 0.75
    assert beyond("dropout", FloatRange(low=0.0, high=0.9), 1) == 0.957
    assert beyond("dropout", FloatRange(low=0.0, high=0.5), -1) is None
    assert beyond("rank", IntRange(low=2, high=32, log=True), -1) == 1
    assert beyond("own", FloatRange(low=1.0, high=9.0), -1) == 0.5
