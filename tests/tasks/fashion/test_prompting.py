"""Prompts from what a model sees in pictures."""

from __future__ import annotations

from typing import Any

import pytest

from tests.tasks.fashion.fake_clip import FakeClip, picture, row
from tuner.tasks.fashion.features import Feature
from tuner.tasks.fashion.prompting import Prompting
from tuner.tasks.fashion.prompts import PromptPlan, optimised_prompt
from tuner.tasks.fashion.rows import PictureRow, encoded

SEEN = [
    {("category", "dress"): 1.0, ("style", "denim"): 0.9, ("colour", "red"): 0.8},
    {("category", "coat"): 1.0, ("style", "denim"): 0.9, ("pattern", "lace"): 0.05},
    {("category", "hat"): 1.0, ("style", "denim"): 0.9, ("background", "wooden floor"): 0.9},
]


def prompting() -> tuple[Prompting, FakeClip]:
    clip: Any = FakeClip(SEEN)
    return Prompting(clip), clip


def words(features: tuple[Feature, ...]) -> set[str]:
    return {feature.word for feature in features}


def test_the_prompt_of_a_row_says_what_its_picture_shows() -> None:
    made, _ = prompting()
    rows = [row(0, "some clothes"), row(1), row(2)]
    plan = PromptPlan("detailed", threshold=0.3)
    assert made.prompts(plan, rows) == ["a denim dress in red", "a denim coat", "a denim hat, on a wooden floor"]
    for strategy in ("minimal", "category_first", "caption_plus"):
        other = PromptPlan(strategy)
        wanted = [
            optimised_prompt(other, seen, each.caption)
            for seen, each in zip(made.features(other, rows), rows, strict=True)
        ]
        assert made.prompts(other, rows) == wanted
    assert made.prompts(PromptPlan("caption_plus"), rows)[0].startswith("some clothes, ")


def test_a_plan_says_how_sure_and_how_many_features_are() -> None:
    made, _ = prompting()
    assert words(made.features(PromptPlan(threshold=0.3), [row(1)])[0]) == {"coat", "denim"}
    assert words(made.features(PromptPlan(threshold=0.9), [row(0)])[0]) == {"dress", "denim", "red"}
    assert words(made.features(PromptPlan(most=1), [row(0)])[0]) == {"dress"}
    assert "lace" in words(made.features(PromptPlan(threshold=0.02, most=10), [row(1)])[0])


def test_every_picture_is_looked_at_once() -> None:
    made, clip = prompting()
    twin = PictureRow("twin", "another caption", encoded(picture(0)))
    made.prompts(PromptPlan(), [row(0), twin, row(1)])
    assert clip.asked == [2]
    made.features(PromptPlan("minimal", 0.5), [row(1), row(0)])
    made.common(PromptPlan(), [row(2), row(1)])
    assert clip.asked == [2, 1]


def test_what_rows_have_in_common_is_without_the_garment() -> None:
    made, clip = prompting()
    clip.scale = 8.0
    found = made.common(PromptPlan(threshold=0.5, most=10), [row(0), row(1), row(2)])
    assert "denim" in words(found)
    assert all(feature.group != "category" for feature in found)
    assert not words(found) & {"red", "lace", "wooden floor"}
    alone = made.common(PromptPlan(threshold=0.3), [row(0)])
    assert words(alone) == {"denim", "red"}


def test_who_asks_is_heard_first() -> None:
    made, _ = prompting()
    common = (Feature("style", "denim", 0.9), Feature("colour", "indigo", 0.8))
    plan = PromptPlan("style_first")
    assert made.asked(plan, "a red hat", common) == "a red hat, denim, in indigo"
    assert made.asked(plan, "a denim hat", common) == "a denim hat, in indigo", "no word is said twice"
    assert made.asked(plan, "a red hat", ()) == "a red hat"
    better = made.asked(PromptPlan("minimal", quality_words=True), "a red hat", common)
    assert better == "a red hat, denim, high quality, sharp", "the strategy takes the surest alone"
    sure = made.asked(PromptPlan("high_confidence_only"), "a red hat", (*common, Feature("pattern", "lace", 0.4)))
    assert sure == "a red hat, denim, in indigo"


@pytest.mark.parametrize("asked", ["", "  "])
def test_who_asks_for_nothing_gets_something(asked: str) -> None:
    assert prompting()[0].asked(PromptPlan(), asked, ()) == "a piece of clothing"
