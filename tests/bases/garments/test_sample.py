"""Looks by chance: as often as said, standing out from what is behind them, different for different seeds."""

from __future__ import annotations

from collections import Counter

import pytest

from tuner.bases.garments.backgrounds import mean_rgb
from tuner.bases.garments.look import GARMENTS, ONE_COLOUR, PATTERNS, TEXTURES
from tuner.bases.garments.palette import COLOURS, distance
from tuner.bases.garments.sample import APART, CONTRAST, accents_for, backgrounds_for, general, styled
from tuner.bases.garments.styles import STYLES

LOOKS = general(0, 4000)


def test_the_same_seed_gives_the_same_looks_and_another_seed_others() -> None:
    assert general(0, 50) == LOOKS[:50]
    assert not set(general(1, 4000)) & set(LOOKS)
    assert styled("denim", 3, 20) == styled("denim", 3, 20) != styled("denim", 4, 20)


def test_everything_comes_up_as_often_as_said() -> None:
    for name, words in (("garment", GARMENTS), ("colour", tuple(COLOURS))):
        counts = Counter(getattr(look, name) for look in LOOKS)
        assert set(counts) == set(words)
        assert min(counts.values()) > 0.75 * len(LOOKS) / len(words)
    counts = Counter(look.pattern for look in LOOKS)
    assert set(counts) == {*PATTERNS, *TEXTURES}
    assert 0.22 < sum(counts[name] for name in TEXTURES) / len(LOOKS) < 0.28


def test_a_garment_stands_out_from_its_background_and_a_pattern_from_its_cloth() -> None:
    for look in LOOKS[:500]:
        assert look.style is None
        assert distance(look.main_rgb, mean_rgb(look.background)) >= APART
        if look.pattern in ONE_COLOUR:
            assert look.accent == look.colour
        else:
            assert distance(look.main_rgb, look.accent_rgb) >= CONTRAST


@pytest.mark.parametrize("colour", list(COLOURS))
def test_every_colour_has_a_choice_of_accents_and_backgrounds(colour: str) -> None:
    assert len(set(accents_for(colour))) >= 4
    assert len(backgrounds_for(colour)) >= 3
    assert colour not in accents_for(colour)


@pytest.mark.parametrize("style", list(STYLES))
def test_a_style_shows_all_its_garments_colours_and_patterns(style: str) -> None:
    looks = styled(style, 1, 400)
    assert {look.style for look in looks} == {style}
    assert {look.garment for look in looks} == set(GARMENTS)
    assert {look.colour for look in looks} == set(STYLES[style].colours)
    assert {look.pattern for look in looks} == set(STYLES[style].patterns)


def test_an_unknown_style_is_refused() -> None:
    with pytest.raises(ValueError, match="style = 'gothic': must be one of vintage floral, denim"):
        styled("gothic", 1, 1)
