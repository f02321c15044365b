"""Tests of tuner/report/before_after.py: the base alone beside the adapter, metric by metric."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tuner.config import BandConfig
from tuner.report.before_after import before_after, better
from tuner.score_benchmark import Benchmark, Measure
from tuner.store.outputs import Output, Outputs

SETTINGS = settings(deadline=None, derandomize=True)
BAND = BandConfig(excellent=0.9, good=0.7, average=0.5)
BENCHMARK = Benchmark(
    measures=(
        Measure("quality", "rubric", "rubric", "answer's rubric", BAND, most=10.0),
        Measure("kept", "kept", "kept", "what was kept", BAND),
    ),
    weights={"quality": 0.5, "kept": 0.5},
    deciding="quality",
)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)


def outputs(*pairs: tuple[Mapping[str, float], Mapping[str, float]]) -> Outputs:
    """Outputs of such metrics: the base's, the adapter's."""
    items = (Output("text", "", "", "", metrics=after, base_metrics=before) for before, after in pairs)
    return Outputs("t000", "test", tuple(items))


def test_means_over_the_outputs_that_have_both() -> None:
    found = before_after(
        outputs(
            ({"rubric": 2.0, "kept": 1.0, "z": 1.0}, {"rubric": 6.0, "kept": 0.75, "z": 1.0, "only_after": 1.0}),
            ({"rubric": 4.0, "a_loss": 2.0}, {"rubric": 9.0, "a_loss": 1.0}),
            ({}, {"rubric": 0.0, "kept": 0.0}),
            ({"rubric": math.nan}, {"rubric": 0.0}),
        ),
        BENCHMARK,
    )
    assert [(each.metric, each.title, each.before, each.after) for each in found] == [
        ("rubric", "answer's rubric", 3.0, 7.5),  # as it was measured, from 0 to 10
        ("kept", "what was kept", 1.0, 0.75),
        ("total_loss", "total loss", 0.4, pytest.approx(0.325)),  # 0.5 * (1 - 0.2), 0.5 * (1 - 0.6) + 0.5 * (1 - 0.75)
        ("a_loss", "a loss", 2.0, 1.0),
        ("z", "z", 1.0, 1.0),
    ]
    assert [each.is_better for each in found] == [True, False, True, True, None]
    assert [each.change_percent for each in found] == [150, -25, pytest.approx(-18.75), -50, 0]


def test_without_the_base_there_is_nothing_to_compare() -> None:
    assert before_after(None, BENCHMARK) == ()
    assert before_after(outputs(), BENCHMARK) == ()
    assert before_after(outputs(({}, {"rubric": 1.0, "kept": 1.0})), BENCHMARK) == ()


def test_from_zero_there_is_no_percentage() -> None:
    (found,) = before_after(outputs(({"kept": 0.0}, {"kept": 0.5})), BENCHMARK)
    assert (found.change_percent, found.is_better) == (None, True)


def test_what_grows_from_below_zero_grows() -> None:
    (found,) = before_after(outputs(({"kept": -0.5}, {"kept": 0.5})), BENCHMARK)
    assert (found.change_percent, found.is_better) == (200, True)


@pytest.mark.parametrize(
    ("metric", "way"),
    [
        ("accuracy", "higher"), ("predict_rouge-l", "higher"), ("predict_samples_per_second", "higher"),
        ("predict_steps_per_second", "higher"), ("total_loss", "lower"), ("answer_loss", "lower"), ("loss", "lower"),
        ("perplexity", "lower"), ("answer_perplexity", "lower"), ("generation_seconds", "lower"),
        ("predict_runtime", "lower"), ("predict_model_preparation_time", "lower"), ("answer_words", ""),
    ],
)  # fmt: skip
def test_which_way_is_better(metric: str, way: str) -> None:
    assert better(metric) == way
    (found,) = before_after(outputs(({metric: 1.0}, {metric: 2.0})), BENCHMARK)
    assert found.better == way
    assert found.is_better is {"higher": True, "lower": False, "": None}[way]


def test_more_of_a_measure_is_better_whatever_its_name() -> None:
    measures = (Measure("odd", "odd_loss", "odd", "odd", BAND),)
    benchmark = Benchmark(measures=measures, weights={"odd": 1.0}, deciding="odd")
    found = before_after(outputs(({"odd_loss": 0.1}, {"odd_loss": 0.2})), benchmark)
    assert [(each.metric, each.better, each.is_better) for each in found] == [
        ("odd_loss", "higher", True), ("total_loss", "lower", True)
    ]  # fmt: skip


@SETTINGS
@given(st.lists(st.tuples(NUMBERS, NUMBERS), min_size=1))
def test_any_numbers_give_numbers(pairs: list[tuple[float, float]]) -> None:
    (found,) = before_after(outputs(*[({"x": before}, {"x": after}) for before, after in pairs]), BENCHMARK)
    for mean, side in zip((found.before, found.after), zip(*pairs, strict=True), strict=True):
        assert mean is not None
        assert min(side) - abs(min(side)) * 1e-9 <= mean + 1e-300
        assert mean - 1e-300 <= max(side) + abs(max(side)) * 1e-9
    if found.change_percent is not None and found.is_better is not None:
        assert (found.change_percent >= 0) == found.is_better or found.change_percent == 0
