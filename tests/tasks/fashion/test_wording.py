"""Tests of tuner/tasks/fashion/wording.py: phrases in English, without a word said before."""

from __future__ import annotations

import pytest

from tuner.tasks.fashion.features import VOCABULARY, Feature
from tuner.tasks.fashion.wording import joined, worded


def told(before: str = "", **found: str) -> str:
    """What is told of a word of each group; several are split by "+"."""
    features = [Feature(group, word, 0.5) for group, words in found.items() for word in words.split("+")]
    return worded(features, before).told()


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ({"category": "dress", "colour": "red", "pattern": "striped"}, "a red striped dress"),
        ({"category": "dress", "colour": "red", "pattern": "plain"}, "a plain red dress"),
        ({"category": "dress", "colour": "orange"}, "an orange dress"),
        ({"category": "dress", "colour": "red+white+navy", "pattern": "dotted"}, "a dotted dress in red and white"),
        (
            {"category": "coat", "style": "formal", "colour": "navy", "pattern": "lace"},
            "a formal coat in navy with lace",
        ),
        ({"category": "coat", "style": "formal", "pattern": "checked"}, "a formal coat, checked"),
        ({"category": "boots", "colour": "red"}, "red boots"),
        ({"category": "footwear", "colour": "red"}, "red footwear"),
        ({"category": "outerwear", "colour": "red"}, "a red piece of outerwear"),
        ({"category": "accessory", "background": "brick wall"}, "an accessory, in front of a brick wall"),
        ({"colour": "red", "background": "dark studio"}, "a red piece of clothing, in a dark studio"),
    ],
)
def test_garments_are_told_in_english(found: dict[str, str], expected: str) -> None:
    assert told(**found) == expected


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ({"style": "vintage floral", "pattern": "floral"}, "a vintage floral hat"),
        ({"style": "romantic+formal"}, "a romantic hat"),
        ({"colour": "blue+baby blue"}, "a blue hat"),
        ({"colour": "orange", "pattern": "orange stitching"}, "an orange hat"),
        ({"colour": "white", "background": "plain white"}, "a white hat, on a plain background"),
        ({"colour": "cream", "background": "cream"}, "a cream hat"),
        ({"colour": "cream", "background": "cream paper"}, "a cream hat, on paper"),
        ({"colour": "light blue", "background": "light linen"}, "a light blue hat, on linen"),
        ({"pattern": "striped+dotted", "background": "shop+wooden floor"}, "a striped hat, in a shop"),
    ],
)
def test_no_word_is_told_twice(found: dict[str, str], expected: str) -> None:
    assert told(category="hat", **found) == expected


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        ("on a wooden floor", "a red striped hat"),
        ("a boot", "a red striped piece of clothing, on a wooden floor"),
        ("two skirts", "a red striped piece of clothing, on a wooden floor"),
        ("DRESSES with white stripes", "a red piece of clothing, on a wooden floor"),
        ("my sneakers, Red", "a striped piece of clothing, on a wooden floor"),
        ("on the floor", "a red striped hat"),
    ],
)
def test_what_was_said_before_is_not_told(before: str, expected: str) -> None:
    assert told(before, category="hat", colour="red", pattern="striped", background="wooden floor") == expected


@pytest.mark.parametrize("background", VOCABULARY["background"])
def test_every_background_can_be_told(background: str) -> None:
    assert told(category="hat", background=background) == (
        "a hat, " + VOCABULARY["background"][background].removeprefix("a photo of clothing ")
    )


def test_parts_are_joined_while_there_is_room() -> None:
    assert joined("a red hat", ["red", "in a shop", "shop"]) == "a red hat, in a shop"
    assert joined("word " * 73 + "word", ["two words", "one"]).endswith("word word, one")
