"""When a version on trial has to go."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve.traffic import Trial
from tuner.registry import Limits, Target

FIRST, SECOND = "0" * 12, "1" * 12


def trial(**limits: float) -> Trial:
    return Trial(Target.of({FIRST: 9, SECOND: 1}, None, Limits(**{"requests": 10, **limits})))  # type: ignore[arg-type]


def fed(given: Trial, version: str, seconds: list[float | None]) -> str:
    """What is said last."""
    why = ""
    for value in seconds:
        why = given.add(version, value or 0.0, failed=value is None)
    return why


def test_errors() -> None:
    assert fed(trial(max_errors=0.2), SECOND, [None] * 9) == ""  # too few to judge
    assert fed(trial(max_errors=0.2), SECOND, [None] * 2 + [0.1] * 8) == ""  # as many as may
    assert fed(trial(max_errors=0.2), SECOND, [None] * 3 + [0.1] * 7) == (
        "30.0% of its last 10 requests failed, and 20.0% may"
    )
    assert fed(trial(max_errors=0.2), SECOND, [None] * 2 + [0.1] * 20) == ""  # the last ones count


def test_milliseconds() -> None:
    assert fed(trial(max_latency_ms=100), SECOND, [0.1] * 10) == ""
    assert "110 ms on average, and 100 ms" in fed(trial(max_latency_ms=100), SECOND, [0.11] * 10)
    assert fed(trial(max_latency_ms=100), SECOND, [None] * 10) == ""  # nothing was measured


def test_the_ratio_is_to_the_first_version() -> None:
    judged = trial(max_latency_ratio=2)
    assert fed(judged, SECOND, [0.5] * 10) == ""  # the first one is not known yet
    fed(judged, FIRST, [0.2] * 10)
    assert f"over 2 times the 200 ms of {FIRST}" in fed(judged, SECOND, [0.5])


@given(st.lists(st.one_of(st.none(), st.floats(0, 1e3)), max_size=40))
def test_the_first_version_stays_and_others_are_passed_over(seconds: list[float | None]) -> None:
    strict = trial(max_errors=0, max_latency_ms=1e-6, max_latency_ratio=1, requests=1)
    assert fed(strict, FIRST, seconds) == ""
    assert fed(strict, "2" * 12, seconds) == ""


@given(st.lists(st.booleans(), min_size=10, max_size=60), st.sampled_from([0.0, 0.1, 0.5, 0.9]))
def test_the_share_is_that_of_the_last_requests(failed: list[bool], most: float) -> None:
    judged = trial(max_errors=most)
    for count, each in enumerate(failed, 1):
        why = judged.add(SECOND, 0.1, failed=each)
        recent = failed[max(0, count - 10) : count]
        assert bool(why) == (count >= 10 and sum(recent) / 10 > most)


def test_a_split_without_limits_is_no_trial() -> None:
    with pytest.raises(AssertionError):
        Trial(Target.of({FIRST: 1, SECOND: 1}))
