"""Tests of tuner/score_benchmark.py and score_fashion.py: loss, grades of single outputs, averages, references."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tuner.config import AlertConfig, BandConfig, BenchmarkConfig, RoundsConfig, ScoreConfig
from tuner.errors import ConfigError
from tuner.score_benchmark import Benchmark, Rule, Target, average, configured, distribution, judge_item, total_loss
from tuner.score_benchmark import versus_reference as versus
from tuner.score_fashion import FASHION

SETTINGS = settings(deadline=None, derandomize=True)
SHARES = st.floats(0, 1)


def judging(**parts: Any) -> Any:
    """The parts of a config, with the defaults for those not given."""
    defaults = {
        "benchmark": BenchmarkConfig(), "alerts": AlertConfig(), "rounds": RoundsConfig(), "score": ScoreConfig()
    }  # fmt: skip
    return SimpleNamespace(**{**defaults, **parts})


def image(ssim: float, clip: float, colour: float) -> dict[str, float]:
    """The metrics of one picture."""
    return {"ssim": ssim, "fashion_clip": clip, "colour": colour}


def test_the_loss_is_the_issues_formula() -> None:
    found = total_loss({"visual": 0.326, "fashion": 0.523, "color": 0.012}, FASHION.weights)
    assert found == pytest.approx(0.2 * (1 - 0.326) + 0.6 * (1 - 0.523) + 0.2 * (1 - 0.012))


@SETTINGS
@given(SHARES, SHARES, SHARES, SHARES, st.sampled_from(["visual", "fashion", "color"]))
def test_the_loss_lies_between_0_and_1_and_falls_with_every_similarity(
    visual: float, fashion: float, color: float, other: float, changed: str
) -> None:
    values = {"visual": visual, "fashion": fashion, "color": color}
    loss = total_loss(values, FASHION.weights)
    assert 0 <= loss <= 1
    more = total_loss({**values, changed: max(values[changed], other)}, FASHION.weights)
    assert more <= loss
    for weights in FASHION.presets.values():
        assert 0 <= total_loss(values, weights) <= 1 + 1e-12


def test_every_set_of_weights_sums_to_one() -> None:
    for weights in (FASHION.weights, *FASHION.presets.values()):
        assert math.fsum(weights.values()) == pytest.approx(1)
        assert set(weights) == {each.name for each in FASHION.measures}


@pytest.mark.parametrize(
    ("metrics", "word"),
    [
        (image(0.6, 0.7, 0.5), "excellent"),  # loss 0.36
        (image(0.0, 0.75, 0.2), "good"),  # FashionCLIP excellent, loss 0.51: too much for excellent
        (image(0.2, 0.7, 0.3), "excellent"),  # loss 0.48
        (image(0.4, 0.5, 0.1), "good"),  # loss 0.6
        (image(0.0, 0.5, 0.0), "good"),  # loss exactly 0.7
        (image(-0.1, 0.5, 0.0), "average"),  # loss 0.72
        (image(0.9, 0.49, 0.9), "average"),  # a small loss does not make up for FashionCLIP
        (image(0.0, 0.3, 0.0), "average"),
        (image(1.0, 0.29, 1.0), "poor"),
        (image(math.nan, 0.9, 0.9), "unmeasured"),
        (image(0.9, math.nan, 0.9), "unmeasured"),
        ({"fashion_clip": 0.9, "ssim": 0.9}, "unmeasured"),
    ],
)
def test_the_grade_of_one_image(metrics: dict[str, float], word: str) -> None:
    assert judge_item("image_1.jpg", metrics, FASHION).grade == word


@SETTINGS
@given(SHARES, SHARES, SHARES, SHARES, st.sampled_from(["ssim", "fashion_clip", "colour"]))
def test_a_better_image_never_gets_a_worse_grade(
    ssim: float, clip: float, colour: float, other: float, changed: str
) -> None:
    order = ["poor", "average", "good", "excellent"]
    metrics = image(ssim, clip, colour)
    better = {**metrics, changed: max(metrics[changed], other)}
    before, after = (judge_item("a", each, FASHION).grade for each in (metrics, better))
    assert order.index(after) >= order.index(before)


@SETTINGS
@given(SHARES, SHARES, SHARES, st.floats(0.1, 1000))
def test_a_metric_that_runs_further_than_1_is_judged_as_a_share(
    ssim: float, clip: float, colour: float, most: float
) -> None:
    measures = tuple(replace(each, most=most) if each.name == "fashion" else each for each in FASHION.measures)
    found = judge_item("a", image(ssim, clip * most, colour), replace(FASHION, measures=measures))
    assert found.similarities["fashion"] == pytest.approx(clip)
    assert found.total_loss == pytest.approx(judge_item("a", image(ssim, clip, colour), FASHION).total_loss)


@pytest.mark.parametrize(
    ("score", "word"), [(10.0, "excellent"), (6.0, "good"), (4.0, "average"), (0.9, "poor"), (math.nan, "unmeasured")]
)
def test_an_answer_from_0_to_10_has_the_grade_of_its_share(score: float, word: str) -> None:
    rubric = replace(FASHION.measure("fashion"), most=10.0)
    benchmark = Benchmark(measures=(rubric,), weights={"fashion": 1.0}, deciding="fashion")
    assert judge_item("a", {"fashion_clip": score}, benchmark).grade == word


def test_the_distribution_counts_every_image_once() -> None:
    items = [judge_item(str(n), image(n / 10, n / 10, n / 10), FASHION) for n in range(11)]
    counts = distribution(items)
    assert list(counts) == ["excellent", "good", "average", "poor"]
    assert sum(counts.values()) == 11
    assert counts == {"excellent": 4, "good": 2, "average": 2, "poor": 3}
    assert distribution([judge_item("x", {}, FASHION)]) == {
        "excellent": 0, "good": 0, "average": 0, "poor": 0, "unmeasured": 1
    }  # fmt: skip


def test_averages_leave_out_what_was_not_measured() -> None:
    items = [judge_item("a", image(0.2, 0.4, 0.6), FASHION), judge_item("b", {"ssim": 0.6}, FASHION)]
    found = average(items, FASHION)
    assert found["visual"] == pytest.approx(0.4)
    assert (found["fashion"], found["color"]) == (0.4, 0.6)
    assert found["total_loss"] == pytest.approx(items[0].total_loss)
    assert all(math.isnan(value) for value in average([], FASHION).values())


def test_differences_from_the_reference_values() -> None:
    found = versus({"total_loss": 0.609, "visual": 0.426, "fashion": 0.523, "color": math.nan}, FASHION)
    assert list(found) == [f"vs_reference_{name}" for name in ("total_loss", "visual", "fashion", "color")]
    assert found["vs_reference_total_loss"] == pytest.approx(-0.1)
    assert found["vs_reference_visual"] == pytest.approx(0.1)
    assert found["vs_reference_fashion"] == 0
    assert math.isnan(found["vs_reference_color"])


@pytest.mark.parametrize(
    ("name", "value", "target"), [("visual", 0.326, 0.3912), ("visual", 0.65, 0.7), ("fashion", 0.5, 0.55)]
)
def test_targets_of_similarities(name: str, value: float, target: float) -> None:
    found = FASHION.measure(name).target
    assert found is not None
    assert found.of(value) == pytest.approx(target)


def test_targets_of_the_loss() -> None:
    assert FASHION.loss_target.of(0.709) == 0.3
    assert FASHION.loss_target.of(0.3) == pytest.approx(0.24)
    assert math.isnan(Target(0.3, 0.8).of(math.nan))


def test_the_target_of_a_negative_similarity_is_above_it() -> None:
    assert Target(0.7, 1.2).of(-0.12) == pytest.approx(-0.1)


@pytest.mark.parametrize(
    ("hyperparameter", "values"),
    [
        ("learning_rate", {0.81: 2e-4, 0.8: 3e-4, 0.61: 3e-4, 0.6: 5e-4, 0.41: 5e-4, 0.4: 8e-4, 0.21: 8e-4, 0.2: 1e-3}),
        ("steps", {0.29: 300, 0.3: 200, 0.49: 200, 0.5: 150, 0.69: 150, 0.7: 100}),
        ("resolution", {0.29: 768, 0.3: 640, 0.49: 640, 0.5: 512}),
    ],
)
def test_rules_of_thumb(hyperparameter: str, values: dict[float, float]) -> None:
    (rule,) = [rule for rule in FASHION.rules if rule.hyperparameter == hyperparameter]
    assert {value: rule.of(value) for value in values} == values
    assert math.isnan(rule.of(math.nan))


def test_a_rule_by_what_lies_below() -> None:
    rule = Rule("rank", "overall", ((0.4, 64), (0.6, 48)), 32)
    assert [rule.of(value) for value in (0.1, 0.4, 0.6)] == [64, 48, 32]


def test_a_config_goes_before_the_tasks_own() -> None:
    found = configured(
        FASHION,
        judging(
            benchmark=BenchmarkConfig(preset="balanced", reference={"visual": 0.4, "total_loss": 0.6}, good_loss=0.9),
            alerts=AlertConfig(below={"color": 0.1}),
            rounds=RoundsConfig(converged={"fashion": 0.8}),
            score=ScoreConfig(bands={"ssim": BandConfig(excellent=0.8, good=0.6, average=0.4)}),
        ),
    )
    assert found.weights == FASHION.presets["balanced"]
    assert (found.reference_loss, found.good_loss, found.excellent_loss) == (0.6, 0.9, 0.5)
    assert found.measure("visual").reference == 0.4
    assert found.measure("visual").band.excellent == 0.8
    assert found.measure("fashion").reference == 0.523
    assert found.measure("fashion").converged == 0.8
    assert found.measure("color").alert_below == 0.1
    assert configured(FASHION, judging()) == FASHION


def test_every_wrong_name_is_reported_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        configured(
            FASHION,
            judging(
                benchmark=BenchmarkConfig(preset="balance", reference={"ssim": 0.4}),
                alerts=AlertConfig(below={"colour": 0.1}),
                rounds=RoundsConfig(converged={"fashon": 0.8}),
            ),
        )
    cures = {problem.name: problem.cure for problem in caught.value.problems}
    assert set(cures) == {
        "benchmark.preset", "benchmark.reference.ssim", "alerts.below.colour", "rounds.converged.fashon"
    }  # fmt: skip
    assert "balanced" in cures["benchmark.preset"]
    assert "fashion" in cures["rounds.converged.fashon"]


def test_a_preset_and_weights_do_not_go_together() -> None:
    weights = {"visual": 0.5, "fashion": 0.5, "color": 0.0}
    with pytest.raises(ConfigError, match="cannot go with weights"):
        configured(FASHION, judging(benchmark=BenchmarkConfig(preset="balanced", weights=weights)))
    found = configured(FASHION, judging(benchmark=BenchmarkConfig(weights=weights)))
    assert judge_item("a", {"ssim": 0.5, "fashion_clip": 0.5}, found).total_loss == 0.5
