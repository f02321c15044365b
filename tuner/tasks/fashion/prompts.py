"""Prompts made of what a picture shows: in which order, of how many features, and what is asked to stay away.

A prompt is English, of `wording.LONGEST` words at most, and says no word twice but those that a row's own caption
repeats. Knows no model: whether a prompt is good is for its pictures to show.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from types import MappingProxyType
from typing import Any

from tuner.config_rules import did_you_mean
from tuner.errors import ConfigError, Problem
from tuner.tasks.fashion.features import Feature
from tuner.tasks.fashion.wording import LONGEST, joined, worded

MOST_FEATURES = 10
HIGH_CONFIDENCE = 0.6
"""What a feature's confidence must reach for `high_confidence_only`."""

QUALITY = ("high quality", "sharp")
NEGATIVES: Mapping[str, str] = MappingProxyType(
    {
        "none": "",
        "quality": "blurry, low quality",
        "artefacts": "blurry, low quality, distorted, noisy, jpeg artefacts",
        "people": "person, hands, face, mannequin, text, watermark",
        "clutter": "busy background, several garments, cropped",
    }
)
"""What a picture shall not show, by name; each is short enough for the embedded base to read whole."""


@dataclass(frozen=True)
class PromptPlan:
    """How prompts are made: one of `STRATEGIES`, the confidence that a feature must reach, how many features there are
    at most, one of `NEGATIVES`, and whether words that ask for quality are added."""

    strategy: str = "detailed"
    threshold: float = 0.3
    most: int = 5
    negative: str = "none"
    quality_words: bool = False

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> PromptPlan:
        """The plan of a trial's hyperparameters; what they do not name has its default. Raises ConfigError with every
        value that no plan can have."""
        if problems := plan_problems({name: [value] for name, value in params.items()}):
            raise ConfigError(problems)
        return cls(**{field: params[name] for name, field in _FIELDS.items() if name in params})

    @classmethod
    def from_json(cls, saved: Mapping[str, Any]) -> PromptPlan:
        """The plan that `dataclasses.asdict` wrote. Raises ValueError for what no plan can have, KeyError for what is
        missing."""
        params = {name: saved[field] for name, field in _FIELDS.items()}
        if problems := plan_problems({name: [value] for name, value in params.items()}):
            raise ValueError("; ".join(str(problem) for problem in problems))
        return cls.from_params(params)

    @property
    def negative_prompt(self) -> str:
        """The words that are asked to stay away, "" for none."""
        return NEGATIVES[self.negative]

    def negative_or(self, own: str) -> str:
        """Those words, or the study's `own` where the plan has none."""
        return self.negative_prompt or own


_FIELDS: Mapping[str, str] = {
    "strategy": "strategy",
    "confidence_threshold": "threshold",
    "max_features": "most",
    "negative": "negative",
    "quality_words": "quality_words",
}
"""Each hyperparameter, and what it is called in a plan."""


def plan_problems(values: Mapping[str, Sequence[Any]]) -> list[Problem]:
    """What no plan can have among the values that each hyperparameter may take; other hyperparameters are passed over.
    Each is named after its place in the search space: `space.strategy`."""
    known: Mapping[str, Mapping[str, Any]] = {"strategy": STRATEGIES, "negative": NEGATIVES}
    rules: Mapping[str, tuple[Callable[[Any], bool], str, str]] = {
        "confidence_threshold": (
            lambda v: isinstance(v, int | float) and 0 < v < 1,
            "must be a number above 0 and below 1",
            "Try 0.3.",
        ),
        "max_features": (
            lambda v: isinstance(v, int) and not isinstance(v, bool) and 1 <= v <= MOST_FEATURES,
            f"must be a whole number from 1 to {MOST_FEATURES}",
            "Try 5.",
        ),
        "quality_words": (lambda v: isinstance(v, bool), "must be true or false", ""),
    }
    problems = []
    for name, value in ((each, value) for each in _FIELDS for value in values.get(each, ())):
        if name in known:
            words = known[name]
            if not isinstance(value, str) or value not in words:
                cure = did_you_mean(str(value), words)
                problems.append(Problem(f"space.{name}", value, f"must be one of {', '.join(words)}", cure))
        elif not rules[name][0](value):
            problems.append(Problem(f"space.{name}", value, *rules[name][1:]))
    return problems


def optimised_prompt(plan: PromptPlan, features: Sequence[Feature], caption: str) -> str:
    """The prompt for a picture of these features, which are already those that the plan lets through, the surest first
    (`find_features`), and of this caption, which only `caption_plus` says. One line, never empty: a picture without
    features is asked for by its caption, and without that too as a piece of clothing."""
    own = " ".join(caption.split()[:LONGEST]).rstrip(" .,;:!?")
    prompt = STRATEGIES[plan.strategy](features, own) if features else own or "a piece of clothing"
    return joined(prompt, QUALITY) if plan.quality_words else prompt


@dataclass(frozen=True)
class PromptResult:
    """One picture made from its prompt. `similarity_score` compares it with the reference, 0 to 1; NaN where that could
    not be measured. `features` are those found in the reference, said or not."""

    image: str
    optimized_prompt: str
    negative_prompt: str
    strategy: str
    similarity_score: float
    features: tuple[Feature, ...]


def to_json(results: Sequence[PromptResult], plan: PromptPlan, overall: float | None = None) -> dict[str, Any]:
    """All results for a file of JSON: the strategy, the prompt that did best (the first of equals, "" of none) and the
    overall similarity, which is the mean of what was measured unless `overall` says otherwise; then each picture's own
    under "images". What was not measured is null."""
    measured = [each for each in results if math.isfinite(each.similarity_score)]
    best = max(measured, key=lambda each: each.similarity_score) if measured else next(iter(results), None)
    if overall is None:
        overall = math.fsum(each.similarity_score for each in measured) / len(measured) if measured else math.nan
    return {
        "optimized_prompt": best.optimized_prompt if best else "",
        "negative_prompt": plan.negative_prompt,
        "strategy": plan.strategy,
        "similarity_score": _number(overall),
        "plan": asdict(plan),
        "images": [{**asdict(each), "similarity_score": _number(each.similarity_score)} for each in results],
    }


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _detailed(features: Sequence[Feature], caption: str) -> str:
    return worded(features).told()


def _high_confidence_only(features: Sequence[Feature], caption: str) -> str:
    return worded(each for each in features if each.group == "category" or each.confidence >= HIGH_CONFIDENCE).told()


def _minimal(features: Sequence[Feature], caption: str) -> str:
    others = [each for each in features if each.group != "category"]
    return worded(each for each in features if each.group == "category" or each in others[:1]).told()


def _style_first(features: Sequence[Feature], caption: str) -> str:
    words = worded(features)
    told = replace(words, style="").told()
    return f"{words.style} style: {told}" if words.style else told


def _category_first(features: Sequence[Feature], caption: str) -> str:
    words = worded(features)
    return ", ".join([words.garment(), *words.details()])


def _caption_plus(features: Sequence[Feature], caption: str) -> str:
    if not caption:
        return _detailed(features, caption)
    words = worded(features, caption)
    return joined(caption, [*([words.garment()] if words.category else []), *words.details()])


STRATEGIES: Mapping[str, Callable[[Sequence[Feature], str], str]] = MappingProxyType(
    {
        "high_confidence_only": _high_confidence_only,
        "detailed": _detailed,
        "style_first": _style_first,
        "category_first": _category_first,
        "minimal": _minimal,
        "caption_plus": _caption_plus,
    }
)
"""Each way to make a prompt of features, the surest first, and a caption: with the surest of them alone, with all, with
the style or the category in front, with the category and one more, or with the caption and what it does not say."""
