"""How good a task's outputs are, one by one: a loss that weighs several similarities, a grade for each output, how many
have which grade, and how far the averages lie from reference values.

    total loss = sum of weight_i * (1 - similarity_i)          weights sum to 1, similarities lie between -1 and 1

A similarity that was not measured is NaN and makes the loss NaN: no number is made up. Knows nothing of how a
similarity is measured; a task lists its own in a `Benchmark`.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol

from tuner.config import AlertConfig, BandConfig, BenchmarkConfig, RoundsConfig, ScoreConfig
from tuner.config_rules import did_you_mean
from tuner.errors import ConfigError, Problem
from tuner.score import GRADES, grade, measured

TOTAL_LOSS = "total_loss"
ItemWord = Literal["excellent", "good", "average", "poor", "unmeasured"]
UNMEASURED: ItemWord = "unmeasured"


@dataclass(frozen=True)
class Target:
    """What to aim at in the next round: min(limit, factor * value), for a loss as for a similarity; value / factor for
    one below 0, so that the target is better than what there is. What is beyond the limit has reached its target."""

    limit: float
    factor: float

    def of(self, value: float) -> float:
        """The target from a value measured now; NaN for NaN."""
        aimed = value / self.factor if value < 0 else value * self.factor
        return min(self.limit, aimed) if math.isfinite(value) else math.nan


@dataclass(frozen=True)
class Measure:
    """One similarity, of which more is better. `name` in weights, references and alerts; `metric` among the metrics of
    an output and of a trial's reports; `key` in reports, as avg_<key>; `title` for people. `most` is the value of
    `metric` that counts as similarity 1: an answer's rubric may run from 0 to 10. All else are similarities: the band,
    `reference`, `alert_below`, `target` and `converged`, None where the task has no opinion."""

    name: str
    metric: str
    key: str
    title: str
    band: BandConfig
    reference: float | None = None
    alert_below: float | None = None
    target: Target | None = None
    converged: float | None = None
    most: float = 1.0

    def similarity(self, metrics: Mapping[str, float]) -> float:
        """This measure's similarity among metrics; NaN where it was not measured."""
        return measured(metrics.get(self.metric)) / self.most


@dataclass(frozen=True)
class Rule:
    """A rule of thumb for a hyperparameter by one value: of `measure` (a measure's name, "total_loss" or "overall").
    `steps` are (edge, value) pairs, tried in order: the first edge that the value lies beyond decides, else
    `otherwise`. Beyond is above for `above`, else below."""

    hyperparameter: str
    measure: str
    steps: tuple[tuple[float, float], ...]
    otherwise: float
    above: bool = False

    def of(self, value: float) -> float:
        """What the rule advises; NaN for NaN."""
        if not math.isfinite(value):
            return math.nan
        return next((v for edge, v in self.steps if (value > edge if self.above else value < edge)), self.otherwise)


@dataclass(frozen=True)
class Benchmark:
    """What a task's outputs are judged by. `deciding` names the measure whose grade, with the loss, is an output's;
    `item` is the word for one output. Weights are those of the default; `presets` are others by name."""

    measures: tuple[Measure, ...]
    weights: Mapping[str, float]
    deciding: str
    item: str = "output"
    presets: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    reference_loss: float | None = None
    excellent_loss: float = 0.5
    good_loss: float = 0.7
    loss_target: Target = Target(0.3, 0.8)
    rules: tuple[Rule, ...] = ()

    def measure(self, name: str) -> Measure:
        """The measure of that name."""
        return next(each for each in self.measures if each.name == name)


@dataclass(frozen=True)
class ItemGrade:
    """One output judged. `grade` is a word of `GRADES`, or "unmeasured"; `similarities` by the measures' names;
    what was not measured is NaN."""

    name: str
    grade: ItemWord
    total_loss: float
    similarities: Mapping[str, float]


class Judging(Protocol):
    """The parts of a config that say how outputs are judged: a whole StudyConfig, or these parts of an old study's."""

    @property
    def benchmark(self) -> BenchmarkConfig:
        """Weights and references."""

    @property
    def alerts(self) -> AlertConfig:
        """When to sound an alert."""

    @property
    def rounds(self) -> RoundsConfig:
        """When a series has converged."""

    @property
    def score(self) -> ScoreConfig:
        """Bands."""


def total_loss(similarities: Mapping[str, float], weights: Mapping[str, float]) -> float:
    """The weighted loss of similarities, by the measures' names; NaN if one that counts is missing or not finite."""
    counted = {name: weight for name, weight in weights.items() if weight > 0}
    values = {name: similarities.get(name, math.nan) for name in counted}
    if not all(math.isfinite(value) for value in values.values()):
        return math.nan
    return math.fsum(weight * (1 - values[name]) for name, weight in counted.items())


def judge_item(name: str, metrics: Mapping[str, float], benchmark: Benchmark) -> ItemGrade:
    """Judge one output by its metrics. Excellent, good and average need that grade of the deciding measure or a better
    one, the first two a small loss as well."""
    found = {each.name: each.similarity(metrics) for each in benchmark.measures}
    loss = total_loss(found, benchmark.weights)
    key = grade(found[benchmark.deciding], benchmark.measure(benchmark.deciding).band)
    if key == "none" or not math.isfinite(loss):
        word: ItemWord = UNMEASURED
    elif key == "excellent" and loss <= benchmark.excellent_loss:
        word = "excellent"
    elif key in ("excellent", "good") and loss <= benchmark.good_loss:
        word = "good"
    else:
        word = "poor" if key == "poor" else "average"
    return ItemGrade(name, word, loss, found)


def distribution(items: Sequence[ItemGrade]) -> dict[str, int]:
    """How many outputs have each grade; "unmeasured" only where there are such."""
    counts: dict[str, int] = {word: sum(item.grade == word for item in items) for word in (*GRADES, UNMEASURED)}
    if not counts[UNMEASURED]:
        del counts[UNMEASURED]
    return counts


def average(items: Sequence[ItemGrade], benchmark: Benchmark) -> dict[str, float]:
    """Mean of each similarity and of "total_loss" over the outputs where it was measured; NaN where it never was."""
    found = {each.name: _mean([item.similarities[each.name] for item in items]) for each in benchmark.measures}
    return {**found, TOTAL_LOSS: _mean([item.total_loss for item in items])}


def versus_reference(averages: Mapping[str, float], benchmark: Benchmark) -> dict[str, float]:
    """Measured minus reference, as vs_reference_<name>; only where there is a reference, NaN where nothing was
    measured."""
    references = {TOTAL_LOSS: benchmark.reference_loss, **{each.name: each.reference for each in benchmark.measures}}
    return {
        f"vs_reference_{name}": averages.get(name, math.nan) - reference
        for name, reference in references.items()
        if reference is not None
    }


def configured(benchmark: Benchmark, config: Judging) -> Benchmark:
    """The task's benchmark with what a config says in its place. Raises ConfigError with every name that the task does
    not have."""
    wanted, names = config.benchmark, [each.name for each in benchmark.measures]
    problems = [
        *_unknown("benchmark.weights", wanted.weights or {}, names),
        *_unknown("benchmark.reference", wanted.reference, [*names, TOTAL_LOSS]),
        *_unknown("alerts.below", config.alerts.below, names),
        *_unknown("rounds.converged", config.rounds.converged, names),
    ]
    weights = benchmark.weights if wanted.weights is None else wanted.weights
    if wanted.preset is not None:
        if wanted.weights is not None:
            rule = "cannot go with weights: both say how to weigh"
            problems.append(Problem("benchmark.preset", wanted.preset, rule, "Drop one of them."))
        elif wanted.preset not in benchmark.presets:
            there = list(benchmark.presets)
            cure = did_you_mean(wanted.preset, there) if there else "This task has none: give benchmark.weights."
            problems.append(Problem("benchmark.preset", wanted.preset, "is no preset of this task", cure))
        else:
            weights = benchmark.presets[wanted.preset]
    if problems:
        raise ConfigError(problems)
    measures = [
        replace(
            each,
            reference=wanted.reference.get(each.name, each.reference),
            alert_below=config.alerts.below.get(each.name, each.alert_below),
            converged=config.rounds.converged.get(each.name, each.converged),
            band=config.score.bands.get(each.metric, each.band),
        )
        for each in benchmark.measures
    ]
    return replace(
        benchmark,
        measures=tuple(measures),
        weights=weights,
        reference_loss=wanted.reference.get(TOTAL_LOSS, benchmark.reference_loss),
        excellent_loss=wanted.excellent_loss,
        good_loss=wanted.good_loss,
    )


def _unknown(place: str, given: Mapping[str, float], known: Collection[str]) -> list[Problem]:
    return [
        Problem(f"{place}.{name}", value, "is no measure of this task", did_you_mean(name, known))
        for name, value in given.items()
        if name not in known
    ]


def _mean(values: Sequence[float]) -> float:
    measured = [value for value in values if math.isfinite(value)]
    return math.fsum(measured) / len(measured) if measured else math.nan
