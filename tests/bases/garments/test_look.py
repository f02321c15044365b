"""A look is made of its vocabularies' words, and says every word that is not."""

from __future__ import annotations

import pytest

from tuner.bases.garments.look import BACKGROUNDS, GARMENTS, PATTERNS, TEXTURES, Look
from tuner.bases.garments.palette import COLOURS, distance
from tuner.bases.garments.styles import STYLES


def test_every_wrong_word_is_named_at_once() -> None:
    with pytest.raises(ValueError, match="must be one of t-shirt, shirt") as raised:
        Look("sock", "tartan", "beige", "white", "moon", seed=-1)
    for name in ("garment = 'sock'", "pattern = 'tartan'", "colour = 'beige'", "background = 'moon'", "seed = -1"):
        assert name in str(raised.value)
    assert "accent" not in str(raised.value)


def test_an_unknown_style_is_named_with_those_there_are() -> None:
    with pytest.raises(ValueError, match="style = 'gothic': must be None or one of vintage floral, denim"):
        Look("dress", "plain", "red", "red", "cream", "gothic")


def test_a_style_takes_its_own_words_only() -> None:
    with pytest.raises(ValueError, match="colour = 'red': must be one of indigo"):
        Look("dress", "twill", "red", "orange", "light linen", "denim")


def test_an_accent_must_be_seen() -> None:
    with pytest.raises(ValueError, match="accent = 'red': must differ from the colour"):
        Look("dress", "striped", "red", "red", "cream")
    assert Look("dress", "plain", "red", "red", "cream").main_rgb == COLOURS["red"]


def test_a_styled_look_takes_its_colours_from_the_style() -> None:
    look = Look("dress", "twill", "indigo", "orange", "light linen", "denim")
    assert look.main_rgb == STYLES["denim"].colours["indigo"]
    assert look.accent_rgb == STYLES["denim"].accents["orange"]


def test_colours_are_well_apart() -> None:
    names = list(COLOURS)
    near = min(distance(COLOURS[a], COLOURS[b]) for a in names for b in names if a < b)
    assert near > 100


def test_styles_share_no_pattern_and_no_background_with_the_general_set() -> None:
    assert len(GARMENTS) == len(set(GARMENTS)) == 10
    for style in STYLES.values():
        assert not set(style.patterns) & {*PATTERNS, *TEXTURES}
        assert style.background not in BACKGROUNDS
