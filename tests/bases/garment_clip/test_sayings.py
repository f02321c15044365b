"""What is said of looks: its claims, and of which looks they hold."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tuner.bases.garment_clip.sayings import FACTS, KIND, SAYINGS, Saying, facts, fits, saying
from tuner.bases.garment_clip.training import numbered
from tuner.bases.garments.captions import FORMS, PLACES, caption
from tuner.bases.garments.look import GARMENTS, ONE_COLOUR, Look
from tuner.bases.garments.pictures import mixed
from tuner.bases.garments.styles import STYLES

SETTINGS = settings(deadline=None, derandomize=True, max_examples=40)
LOOKS = mixed(9, 160, 0.4)
SIGNS = {"striped": "stripes", "dotted": "dots", "checked": "checks", "floral": "flowers", "ribbed": "ribs",
         "quilted": "quilted", "speckled": "speckles", "gradient": "fading", "zigzag": "zigzag"}  # fmt: skip
"""How a pattern is said where it is not called by its name."""


def says(text: str, fact: str, value: str) -> bool:
    """Whether a text has the words of a fact."""
    if fact == "pattern":
        return value in text or SIGNS.get(value, value) in text
    if fact == "background":
        return PLACES[value] in text
    if fact == "style":
        return (value or "everyday") in text
    return re.search(rf"\b{re.escape(value)}\b", text) is not None


def naive(looks: list[Look], said: list[Saying]) -> list[list[bool]]:
    """Look by look, fact by fact."""
    found = []
    for own, each in zip(looks, said, strict=True):
        row = []
        for other in looks:
            true = True
            for fact, ours, theirs in zip(FACTS, facts(own), facts(other), strict=True):
                if fact in each.claims and ours != theirs:
                    true = False
            row.append(true)
        found.append(row)
    return found


@given(st.lists(st.tuples(st.sampled_from(LOOKS), st.integers(0, SAYINGS - 1)), min_size=1, max_size=30))
@SETTINGS
def test_what_fits_is_what_a_plain_loop_finds(chosen: list[tuple[Look, int]]) -> None:
    looks = [look for look, _ in chosen]
    said = [saying(look, form) for look, form in chosen]
    found = fits(numbered(looks), [each.claims for each in said])
    assert found.dtype == bool
    assert found.tolist() == naive(looks, said)
    assert found.diagonal().all(), "a saying is true of its own look"


@pytest.mark.parametrize("look", LOOKS[:40], ids=str)
def test_sayings_of_a_general_look_claim_what_they_say(look: Look) -> None:
    assert look.style is None
    told = dict(zip(FACTS, facts(look), strict=True))
    for form in range(SAYINGS):
        each = saying(look, form)
        assert set(each.claims) <= set(FACTS)
        for fact in each.claims:
            unseen = fact == "accent" and look.pattern in ONE_COLOUR
            assert unseen or says(each.text, fact, told[fact]), (each, fact)
        assert "background" in each.claims or not says(each.text, "background", look.background)


def test_sayings_of_a_style_name_it_and_claim_it() -> None:
    for look in (each for each in LOOKS if each.style):
        for form in range(SAYINGS):
            each = saying(look, form)
            assert (str(look.style) in each.text) == ("style" in each.claims)
            assert ("colour" in each.claims) <= (look.colour in each.text)
            assert ("garment" in each.claims) <= (look.garment in each.text)
            if "pattern" in each.claims:
                assert STYLES[str(look.style)].patterns[look.pattern] in each.text


def test_the_long_wordings_are_those_of_captions_and_the_short_ones_have_few_claims() -> None:
    for look in LOOKS[:5] + LOOKS[-5:]:
        assert [saying(look, form).text for form in range(FORMS)] == [caption(look, form) for form in range(FORMS)]
        assert all(len(saying(look, form).claims) <= 2 for form in range(FORMS, SAYINGS))
        same = KIND[look.garment] == look.garment  # a dress is of the kind "dress"
        assert len({saying(look, form).text for form in range(FORMS, SAYINGS)}) == SAYINGS - FORMS - same


def test_the_words_of_a_shirt() -> None:
    look = Look("shirt", "striped", "red", "white", "brick wall")
    assert [saying(look, form) for form in range(FORMS, SAYINGS)] == [
        Saying("a photo of a shirt", ("garment",)),
        Saying("shirt", ("garment",)),
        Saying("a photo of a top", ("kind",)),
        Saying("a red shirt", ("garment", "colour")),
        Saying("a striped shirt", ("garment", "pattern")),
        Saying("a photo of something red", ("colour",)),
        Saying("striped clothing", ("pattern",)),
        Saying("everyday fashion style", ("style",)),
    ]


def test_facts_of_what_is_not_seen_are_none() -> None:
    plain = [Look("bag", "plain", "red", accent, "cream") for accent in ("red", "white")]
    assert facts(plain[0]) == facts(plain[1])
    dotted = [Look("bag", "dotted", "red", accent, "cream") for accent in ("blue", "white")]
    assert facts(dotted[0]) != facts(dotted[1])
    assert len(facts(plain[0])) == len(FACTS)
    assert set(KIND) == set(GARMENTS)


def test_facts_as_numbers_are_equal_where_the_facts_are() -> None:
    numbers = numbered(LOOKS)
    told = np.array([facts(look) for look in LOOKS])
    assert numbers.shape == told.shape
    for place in range(len(FACTS)):
        same = told[:, None, place] == told[None, :, place]
        assert np.array_equal(numbers[:, None, place] == numbers[None, :, place], same)
