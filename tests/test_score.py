"""Tests of tuner/score.py: both forms of the score, at the edges, between them and over the whole range."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tuner.config import BandConfig, GradeScores, ScoreConfig
from tuner.score import DEFAULT_BANDS, Band, Score, continuous, grade, graded, mean_interval, overall_score

SETTINGS = settings(deadline=None, derandomize=True)
QUALITY = BandConfig(excellent=0.9, good=0.8, average=0.7)
SIZE = BandConfig(excellent=0.1, good=0.2, average=0.4, higher_is_better=False)
BANDS = {"efficiency": SIZE, "quality": QUALITY, "preservation": BandConfig(excellent=0.9, good=0.75, average=0.6)}


@st.composite
def bands(draw: st.DrawFn) -> Band:
    """Any band whose edges are told apart by more than rounding."""
    first, second, third = (draw(st.integers(min_value=1, max_value=30)) for _ in range(3))
    low, middle, high = first / 100, (first + second) / 100, (first + second + third) / 100
    if draw(st.booleans()):
        return Band(high, middle, low, True, draw(st.sampled_from([0.0, -1.0])))
    scale = draw(st.sampled_from([0.001, 1.0, 1000.0]))
    return Band(low * scale, middle * scale, high * scale, False)


def value_of(band: Band, place: float) -> float:
    """The value at a place in 0..1 of a band's range, worst to best."""
    if band.higher_is_better:
        return band.worst + place * (1 - band.worst)
    return 20 * band.average * (1 - place)


@SETTINGS
@given(bands(), st.floats(0, 1), st.floats(0, 1))
def test_a_better_metric_scores_more_everywhere(band: Band, one: float, other: float) -> None:
    worse, better = sorted((one, other))
    low, high = (continuous(value_of(band, place), band) for place in (worse, better))
    assert low <= high
    if better - worse > 1e-6:
        assert low < high


@SETTINGS
@given(bands(), st.floats(0, 1))
def test_the_forms_lie_within_a_tenth(band: Band, place: float) -> None:
    value = value_of(band, place)
    assert abs(continuous(value, band) - graded(value, band)) <= 0.1 + 1e-9


@SETTINGS
@given(bands(), st.floats(0, 1))
def test_the_score_has_no_jumps(band: Band, place: float) -> None:
    near = min(1.0, place + 1e-9)
    assert abs(continuous(value_of(band, place), band) - continuous(value_of(band, near), band)) < 1e-5


@SETTINGS
@given(bands())
def test_edges_have_their_scores_and_the_better_grade(band: Band) -> None:
    edges = (band.excellent, band.good, band.average)
    assert [continuous(edge, band) for edge in edges] == [0.9, 0.7, 0.5]
    assert [grade(edge, band) for edge in edges] == ["excellent", "good", "average"]
    assert [graded(edge, band) for edge in edges] == [1.0, 0.8, 0.6]
    beyond = [math.nextafter(edge, -math.inf if band.higher_is_better else math.inf) for edge in edges]
    assert [grade(value, band) for value in beyond] == ["good", "average", "poor"]


@st.composite
def grade_scores(draw: st.DrawFn) -> GradeScores:
    """Any scores that fall from excellent to poor."""
    found = draw(st.lists(st.integers(0, 100), min_size=4, max_size=4, unique=True))
    excellent, good, average, poor = (value / 100 for value in sorted(found, reverse=True))
    return GradeScores(excellent=excellent, good=good, average=average, poor=poor)


@SETTINGS
@given(bands(), grade_scores(), st.floats(0, 1), st.floats(0, 1))
def test_other_scores_of_the_grades_keep_the_order(band: Band, scores: GradeScores, one: float, other: float) -> None:
    worse, better = sorted((one, other))
    low, high = (continuous(value_of(band, place), band, scores) for place in (worse, better))
    assert 0 <= low <= high <= scores.excellent
    if better - worse > 1e-6:
        assert low < high
    assert continuous(band.excellent, band, scores) == pytest.approx((scores.excellent + scores.good) / 2)
    assert graded(value_of(band, 0.0), band, scores) == scores.poor


def test_the_overall_score_takes_the_configs_grades() -> None:
    config = ScoreConfig(grades=GradeScores(excellent=1.0, good=0.5, average=0.25, poor=0.0))
    score = overall_score({"efficiency": 0.1, "quality": 0.8, "preservation": 0.0}, config, BANDS)
    assert (score.efficiency, score.quality, score.preservation) == (0.75, 0.375, pytest.approx(0.125 / 1.6))
    assert score.graded_overall == pytest.approx(0.2 * 1.0 + 0.4 * 0.5)


def test_ends_of_the_range() -> None:
    assert continuous(1.0, QUALITY) == 1.0
    assert continuous(0.0, QUALITY) == 0.3
    assert continuous(0.0, SIZE) == 1.0
    assert continuous(0.8, SIZE) == pytest.approx(0.4)  # twice the average|poor edge
    assert 0.3 < continuous(1e6, SIZE) < 0.3001
    assert graded(1e6, SIZE) == 0.4


def test_between_edges_lines_are_straight() -> None:
    assert continuous(0.85, QUALITY) == pytest.approx(0.8)
    assert continuous(0.95, QUALITY) == pytest.approx(0.95)
    assert continuous(0.35, QUALITY) == pytest.approx(0.4)
    assert continuous(0.3, SIZE) == pytest.approx(0.6)


def test_a_negative_cosine_still_tells_better_from_worse() -> None:
    config = ScoreConfig()
    found = [
        overall_score({"efficiency": 0.1, "quality": 0.8, "preservation": cosine}, config, BANDS)
        for cosine in (-1.0, -0.5, -0.01, 0.0, 0.2)
    ]
    overall = [score.overall for score in found]
    assert overall == sorted(set(overall))
    assert found[0].preservation == 0.3


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_gets_no_number(value: float) -> None:
    assert math.isnan(continuous(value, QUALITY))
    assert math.isnan(graded(value, SIZE))
    assert grade(value, QUALITY) == "none"
    score = overall_score({"efficiency": 0.1, "quality": value, "preservation": 0.9}, ScoreConfig(), BANDS)
    assert math.isnan(score.quality)
    assert math.isnan(score.overall)
    assert math.isnan(score.graded_overall)
    assert score.grades["quality"] == score.grades["overall"] == "none"
    assert score.grades["preservation"] == "excellent"


def test_a_component_of_no_weight_may_be_nan() -> None:
    config = ScoreConfig(efficiency_weight=0.5, quality_weight=0.5, preservation_weight=0.0)
    score = overall_score({"efficiency": 0.1, "quality": 0.9, "preservation": math.nan}, config, BANDS)
    assert score.overall == pytest.approx(0.9)


@pytest.mark.parametrize(("value", "band"), [(84.3, QUALITY), (-0.2, QUALITY), (-0.2, SIZE)])
def test_a_value_outside_the_range_is_an_error(value: float, band: BandConfig) -> None:
    with pytest.raises(ValueError, match="must lie between"):
        continuous(value, band)


def test_rounding_beyond_the_range_is_none() -> None:
    assert continuous(1.0000001, QUALITY) == 1.0
    assert continuous(1.008, QUALITY) == 1.0


def test_overall_is_the_weighted_sum_of_both_forms() -> None:
    score = overall_score({"efficiency": 0.2, "quality": 0.85, "preservation": 0.5}, ScoreConfig(), BANDS)
    preservation = 0.3 + 0.2 * (1.5 / 1.6)
    assert score == Score(
        efficiency=0.7,
        quality=pytest.approx(0.8),
        preservation=pytest.approx(preservation),
        overall=pytest.approx(0.2 * 0.7 + 0.4 * 0.8 + 0.4 * preservation),
        graded_overall=pytest.approx(0.2 * 0.8 + 0.4 * 0.8 + 0.4 * 0.4),
        grades={"efficiency": "good", "quality": "good", "preservation": "poor", "overall": "average"},
    )


def test_the_configs_bands_and_weights_go_first() -> None:
    strict = BandConfig(excellent=0.99, good=0.98, average=0.97)
    metrics = {"efficiency": 0.0, "quality": 0.96, "preservation": 1.0}
    config = ScoreConfig(efficiency_weight=0.0, quality_weight=1.0, preservation_weight=0.0, bands={"quality": strict})
    score = overall_score(metrics, config, BANDS)
    assert score.grades["quality"] == "poor"
    assert score.overall == score.quality < 0.5
    assert overall_score(metrics, ScoreConfig(), BANDS).grades["quality"] == "excellent"


def test_a_missing_metric_or_band_is_named() -> None:
    with pytest.raises(ValueError, match=r"'preservation'.*\['efficiency', 'quality'\]"):
        overall_score({"efficiency": 0.1, "quality": 0.9}, ScoreConfig(), BANDS)
    with pytest.raises(ValueError, match="'quality' has no band"):
        overall_score({"efficiency": 0.1, "quality": 0.9, "preservation": 1.0}, ScoreConfig(), {})
    with pytest.raises(ValueError, match="quality: a metric is 90"):
        overall_score({"efficiency": 0.1, "quality": 90.0, "preservation": 1.0}, ScoreConfig(), BANDS)


@pytest.mark.parametrize(
    ("metric", "edges"),
    [
        ("efficiency", (0.15, 0.25, 0.35)),
        ("ssim", (0.7, 0.5, 0.3)),
        ("fashion_clip", (0.7, 0.5, 0.3)),
        ("colour", (0.8, 0.6, 0.4)),
        ("total_loss", (0.3, 0.5, 0.7)),
        ("overall", (0.9, 0.7, 0.5)),
    ],
)
def test_default_bands(metric: str, edges: tuple[float, float, float]) -> None:
    band = DEFAULT_BANDS[metric]
    assert (band.excellent, band.good, band.average) == edges
    assert band.higher_is_better == (edges[0] > edges[1])


def test_the_interval_is_students() -> None:
    low, high = mean_interval([0.8, 0.9, 1.0]) or (0.0, 0.0)
    assert (low + high) / 2 == pytest.approx(0.9)
    assert high - low == pytest.approx(2 * 4.302653 * 0.1 / math.sqrt(3), rel=1e-6)
    assert mean_interval([0.8]) is None
