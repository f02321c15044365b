"""Tests of tuner/tasks/fashion/prompts.py: what each strategy says, what a plan may be, and results as JSON."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tuner.bases.garments import tokens
from tuner.errors import ConfigError
from tuner.tasks.fashion.categories import CATEGORIES
from tuner.tasks.fashion.features import GROUPS, NEUTRAL, VOCABULARY, Feature
from tuner.tasks.fashion.prompts import (
    NEGATIVES,
    QUALITY,
    STRATEGIES,
    PromptPlan,
    PromptResult,
    optimised_prompt,
    plan_problems,
    to_json,
)
from tuner.tasks.fashion.wording import GLUE, LONGEST

SETTINGS = settings(deadline=None, derandomize=True, max_examples=150)
KNOWN = [("category", word) for word in CATEGORIES] + [
    (group, word) for group in GROUPS[1:] for word in VOCABULARY[group] if word != NEUTRAL
]
FEATURES = st.lists(
    st.builds(lambda known, sure: Feature(*known, sure), st.sampled_from(KNOWN), st.floats(0, 1)), max_size=10
).map(lambda found: sorted(found, key=lambda each: -each.confidence))
PLANS = st.builds(PromptPlan, strategy=st.sampled_from(sorted(STRATEGIES)), quality_words=st.booleans())
OWN_WORDS = st.lists(st.sampled_from(["a", "red", "blue", "dress", "jackets", "studio", "floor", "with", "stripes"]))
CAPTIONS = st.one_of(st.text(max_size=40), OWN_WORDS.map(" ".join), st.integers(60, 200).map(lambda n: "very " * n))

DRESS = (
    Feature("category", "dress", 0.9),
    Feature("style", "pastel romantic", 0.8),
    Feature("colour", "baby blue", 0.7),
    Feature("pattern", "floral", 0.5),
    Feature("background", "pale pink", 0.4),
)
TROUSERS = (
    Feature("category", "trousers", 0.9),
    Feature("colour", "white", 0.8),
    Feature("pattern", "striped", 0.5),
    Feature("background", "plain white", 0.4),
)


@pytest.mark.parametrize(
    ("strategy", "dress", "trousers"),
    [
        (
            "detailed",
            "a pastel romantic dress in baby blue, floral, on a pale pink background",
            "white striped trousers, on a plain background",
        ),
        ("high_confidence_only", "a pastel romantic dress in baby blue", "white trousers"),
        (
            "style_first",
            "pastel romantic style: a baby blue floral dress, on a pale pink background",
            "white striped trousers, on a plain background",
        ),
        (
            "category_first",
            "a dress, pastel romantic, in baby blue, floral, on a pale pink background",
            "trousers, in white, striped, on a plain background",
        ),
        ("minimal", "a pastel romantic dress", "white trousers"),
        (
            "caption_plus",
            "Something for a summer's day, a dress, pastel romantic, in baby blue, floral, on a pale pink background",
            "Something for a summer's day, trousers, in white, striped, on a plain background",
        ),
    ],
)
def test_what_a_strategy_says(strategy: str, dress: str, trousers: str) -> None:
    plan = PromptPlan(strategy)
    assert optimised_prompt(plan, DRESS, " Something for\n a summer's day. ") == dress
    assert optimised_prompt(plan, TROUSERS, "Something for a summer's day") == trousers


def test_every_strategy_is_tested() -> None:
    marks = test_what_a_strategy_says.pytestmark  # type: ignore[attr-defined]
    assert {case[0] for case in marks[0].args[1]} == set(STRATEGIES)


def test_a_caption_is_followed_by_what_it_does_not_say() -> None:
    plan = PromptPlan("caption_plus")
    assert optimised_prompt(plan, DRESS, "a blue gown with flowers") == (
        "a blue gown with flowers, pastel romantic, on a pale pink background"
    ), "a gown is a dress, what has flowers is floral, and blue is said"
    assert optimised_prompt(plan, DRESS, "two red jackets") == (
        "two red jackets, pastel romantic, in baby blue, floral, on a pale pink background"
    ), "a garment that is named stays what it is"
    assert optimised_prompt(plan, DRESS, " . ") == optimised_prompt(PromptPlan("detailed"), DRESS, "")
    full = " ".join(f"word{n}" for n in range(100))
    assert optimised_prompt(plan, DRESS, full).split() == full.split()[:LONGEST]
    assert optimised_prompt(plan, DRESS, " ".join(full.split()[:70])).endswith(", a dress, pastel romantic, floral"), (
        "what does not fit is left out whole"
    )


def test_words_that_ask_for_quality_are_added() -> None:
    plan = PromptPlan("minimal", quality_words=True)
    assert optimised_prompt(plan, TROUSERS, "") == f"white trousers, {', '.join(QUALITY)}"
    captioned = PromptPlan("caption_plus", quality_words=True)
    assert optimised_prompt(captioned, TROUSERS[:1], "high trousers") == "high trousers, sharp"


def test_the_embedded_base_reads_every_negative_and_room_is_left_for_quality() -> None:
    tokenizer = tokens.train()
    for words in [*NEGATIVES.values(), optimised_prompt(PromptPlan(quality_words=True), DRESS, "")]:
        assert len(tokenizer(words)["input_ids"]) <= tokens.LENGTH, words


def test_without_features_the_caption_is_the_prompt() -> None:
    for strategy in STRATEGIES:
        assert optimised_prompt(PromptPlan(strategy), (), "a red hat") == "a red hat"
        assert optimised_prompt(PromptPlan(strategy), (), " \n") == "a piece of clothing"


@given(PLANS, FEATURES, CAPTIONS)
@SETTINGS
def test_a_prompt_is_one_line_bounded_and_says_no_word_twice(
    plan: PromptPlan, features: list[Feature], caption: str
) -> None:
    prompt = optimised_prompt(plan, features, caption)
    assert prompt == optimised_prompt(plan, features, caption)
    assert prompt.strip() == prompt != ""
    assert "\n" not in prompt
    assert len(prompt.split()) <= LONGEST
    allowed = Counter(re.findall(r"[\w-]+", caption.lower()))
    for word, count in Counter(re.findall(r"[\w-]+", prompt.lower())).items():
        assert word in GLUE or count <= max(1, allowed[word]), f"{word!r} in {prompt!r}"


@given(st.sampled_from(sorted(STRATEGIES)), FEATURES)
@SETTINGS
def test_only_what_was_found_is_said(strategy: str, features: list[Feature]) -> None:
    prompt = optimised_prompt(PromptPlan(strategy), features, "")
    assert not re.search(r"  |, ,|,,| ,|,$|: ,|\b(and|in|on|with|a)$|\ba [aeiou]|\ban [^aeiou]", prompt), prompt
    known = {word for each in features for word in re.findall(r"[\w-]+", each.word)}
    extra = {"piece", "clothing", "style", "background", "hazy"}
    assert set(re.findall(r"[\w-]+", prompt)) - GLUE - known <= extra
    categories = [each.word for each in features if each.group == "category"]
    if categories:
        assert categories[0] in prompt


def test_a_plan_is_read_from_hyperparameters() -> None:
    params = {
        "strategy": "minimal",
        "confidence_threshold": 0.5,
        "max_features": 3,
        "negative": "quality",
        "quality_words": True,
    }
    assert PromptPlan.from_params({**params, "rank": 8}) == PromptPlan("minimal", 0.5, 3, "quality", True)
    assert PromptPlan.from_params({}) == PromptPlan("detailed", 0.3, 5, "none", False)
    assert PromptPlan.from_params(params).negative_prompt == "blurry, low quality"
    assert PromptPlan().negative_prompt == ""


def test_all_mistakes_of_a_plan_are_found_at_once() -> None:
    values = {
        "strategy": ["detailed", "detailled", ["detailed"]],
        "negative": ["nothing"],
        "confidence_threshold": [0.0, 0.3, 1.0, math.nan, True, "0.3"],
        "max_features": [0, 1, 10, 11, 2.5, True],
        "quality_words": [True, "yes"],
        "rank": [-1],
    }
    found = plan_problems(values)
    assert [(each.name, each.value) for each in found if each.value == each.value] == [
        ("space.strategy", "detailled"),
        ("space.strategy", ["detailed"]),
        ("space.confidence_threshold", 0.0),
        ("space.confidence_threshold", 1.0),
        ("space.confidence_threshold", True),
        ("space.confidence_threshold", "0.3"),
        ("space.max_features", 0),
        ("space.max_features", 11),
        ("space.max_features", 2.5),
        ("space.max_features", True),
        ("space.negative", "nothing"),
        ("space.quality_words", "yes"),
    ]
    assert len(found) == 13, "and the threshold that is no number"
    assert found[0].cure == "Did you mean detailed?"
    assert str(found[2]) == "space.confidence_threshold = 0.0: must be a number above 0 and below 1. Try 0.3."
    good: dict[str, list[Any]] = {"strategy": list(STRATEGIES), "negative": list(NEGATIVES), "max_features": [1, 10]}
    assert plan_problems(good) == []
    with pytest.raises(ConfigError, match="2 problems in the config"):
        PromptPlan.from_params({"strategy": "x", "max_features": 0})


def result(image: str, prompt: str, score: float) -> PromptResult:
    return PromptResult(image, prompt, "blurry, low quality", "minimal", score, DRESS[:1])


def test_results_become_json() -> None:
    plan = PromptPlan("minimal", negative="quality")
    made = [result("a.png", "a red hat", 0.25), result("b.png", "a dress", 0.75), result("c.png", "a coat", math.nan)]
    found = json.loads(json.dumps(to_json(made, plan), allow_nan=False))
    assert {name: found[name] for name in ("optimized_prompt", "strategy", "similarity_score")} == {
        "optimized_prompt": "a dress",
        "strategy": "minimal",
        "similarity_score": 0.5,
    }
    assert found["plan"]["threshold"] == 0.3
    assert found["images"][1] == {
        "image": "b.png",
        "optimized_prompt": "a dress",
        "negative_prompt": "blurry, low quality",
        "strategy": "minimal",
        "similarity_score": 0.75,
        "features": [{"group": "category", "word": "dress", "confidence": 0.9}],
    }
    assert [each["similarity_score"] for each in found["images"]] == [0.25, 0.75, None]
    assert to_json(made, plan, 0.6)["similarity_score"] == 0.6


def test_results_that_were_not_measured_are_null() -> None:
    unknown = to_json([result("a.png", "a red hat", math.nan)], PromptPlan())
    assert (unknown["optimized_prompt"], unknown["similarity_score"]) == ("a red hat", None)
    nothing = to_json([], PromptPlan())
    assert (nothing["optimized_prompt"], nothing["similarity_score"], nothing["images"]) == ("", None, [])
