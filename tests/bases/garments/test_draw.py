"""The pictures: the same every time, at every size, every garment in every surface, in the colour that is named."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from tuner.bases.garments import backgrounds, draw
from tuner.bases.garments.look import BACKGROUNDS, GARMENTS, ONE_COLOUR, PATTERNS, TEXTURES, Look
from tuner.bases.garments.palette import COLOURS, distance, lightness
from tuner.bases.garments.sample import general, styled
from tuner.bases.garments.shapes import CUTS, placed
from tuner.bases.garments.styles import STYLES

PLAIN = Look("dress", "plain", "red", "red", "cream", None, 5)


def seen(look: Look, size: int = 64) -> NDArray[np.float32]:
    """The colours of the garment alone, (pixels, 3)."""
    rgb, mask, _ = draw.cutout(look, size)
    return rgb[mask > 0.9]


def nearest(rgb: NDArray[np.float32]) -> str:
    red, green, blue = (round(float(value)) for value in rgb)
    return min(COLOURS, key=lambda name: distance(COLOURS[name], (red, green, blue)))


def test_the_same_look_gives_the_same_picture_and_another_seed_another() -> None:
    look = Look("coat", "floral", "navy", "pink", "brick wall", None, 7)
    first = draw.draw(look)
    backgrounds._painted.cache_clear()
    draw.tones.cache_clear()
    assert np.array_equal(first, draw.draw(look))
    assert not np.array_equal(first, draw.draw(replace(look, seed=8)))


@pytest.mark.parametrize("size", [32, 48, 64, 100, 256])
def test_a_picture_has_its_size_and_looks_like_that_of_another_size(size: int) -> None:
    look = Look("bag", "striped", "teal", "white", "wooden floor", None, 3)
    picture = draw.draw(look, size)
    assert picture.shape == (size, size, 3)
    assert picture.dtype == np.uint8
    small = [
        np.asarray(Image.fromarray(made).resize((16, 16), Image.Resampling.BOX), dtype=float)
        for made in (picture, draw.draw(look))
    ]
    assert np.abs(small[0] - small[1]).mean() < 6


@pytest.mark.parametrize("size", [31, 1025])
def test_a_size_out_of_range_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match=f"size = {size}: must be 32 to 1024"):
        draw.draw(PLAIN, size)


@pytest.mark.parametrize("pattern", PATTERNS + TEXTURES)
def test_every_garment_can_have_every_surface_and_none_looks_plain(pattern: str) -> None:
    for garment in GARMENTS:
        look = Look(garment, pattern, "blue", "blue" if pattern in ONE_COLOUR else "white", "cream", None, 2)
        plain = replace(look, pattern="plain", accent="blue")
        change = np.abs(draw.draw(look).astype(int) - draw.draw(plain).astype(int)).mean()
        assert (change == 0) == (pattern == "plain")
        assert pattern == "plain" or change > 1.5, garment


def test_patterns_can_be_told_from_one_another() -> None:
    looks = [Look("dress", p, "navy", "white", "cream", None, 4) for p in PATTERNS + TEXTURES if p not in ONE_COLOUR]
    pictures = [draw.draw(look).astype(int) for look in looks]
    for number, picture in enumerate(pictures):
        for other in pictures[:number]:
            assert np.abs(picture - other).mean() > 3


@pytest.mark.parametrize("pattern", ["striped", "dotted", "checked", "floral"])
def test_a_pattern_shows_both_its_colours(pattern: str) -> None:
    for garment in GARMENTS:
        cloth = seen(Look(garment, pattern, "red", "white", "cream", None, 6)).astype(float)
        for name in ("red", "white"):
            far = np.abs(cloth - np.array(COLOURS[name])).max(axis=1)
            assert np.mean(far < 60) > 0.06, (garment, name)


@pytest.mark.parametrize("colour", list(COLOURS))
def test_a_plain_garment_has_the_colour_that_is_named(colour: str) -> None:
    for number, garment in enumerate(GARMENTS):
        look = Look(garment, "plain", colour, colour, BACKGROUNDS[number % len(BACKGROUNDS)], None, number)
        cloth = seen(look)
        assert nearest(cloth.mean(axis=0)) == colour, garment
        assert nearest(np.median(cloth, axis=0)) == colour, garment


def test_the_background_does_not_change_the_garment() -> None:
    _, mask, _ = draw.cutout(PLAIN)
    inside = draw.draw(PLAIN)[mask == 1].astype(int)
    for name in BACKGROUNDS:
        assert np.abs(draw.draw(replace(PLAIN, background=name))[mask == 1].astype(int) - inside).max() <= 1


def test_white_on_white_keeps_an_outline() -> None:
    look = Look("t-shirt", "plain", "white", "white", "plain white", None, 1)
    _, mask, _ = draw.cutout(look)
    edge = (mask > 0.5) & (mask < 1)
    assert lightness(tuple(np.median(draw.draw(look)[edge], axis=0))) < 215  # type: ignore[arg-type]


def test_garments_differ_in_outline() -> None:
    masks = {name: draw.cutout(replace(PLAIN, garment=name))[1] > 0.5 for name in GARMENTS}
    for one in GARMENTS:
        for other in GARMENTS:
            if one < other:
                a, b = masks[one], masks[other]
                assert (a & b).sum() / (a | b).sum() < 0.9, (one, other)


@settings(max_examples=60, deadline=None)
@given(garment=st.sampled_from(GARMENTS), seed=st.integers(0, 2**31 - 1))
def test_a_garment_lies_whole_in_the_picture_and_fills_it_well(garment: str, seed: int) -> None:
    points = np.concatenate([part.points for part in placed(replace(PLAIN, garment=garment, seed=seed))[0].parts])
    assert points.min() > 0.02
    assert points.max() < 0.98
    assert np.ptp(points, axis=0).max() > 0.7


def test_every_garment_has_a_cut() -> None:
    assert tuple(CUTS) == GARMENTS


def test_backgrounds_are_kept_and_cannot_be_written_to() -> None:
    first = backgrounds.background("brick wall", 64, 1)
    assert backgrounds.background("brick wall", 64, 1 + backgrounds.VARIANTS) is first
    with pytest.raises(ValueError, match="read-only"):
        first[0] = 0


def test_backgrounds_differ() -> None:
    means = [np.array(backgrounds.background(name, 64, 0)) for name in backgrounds.PAINTS]
    for one, other in pairwise(means):
        assert np.abs(one - other).mean() > 5


def palette(style: str | None) -> NDArray[np.float64]:
    """How often each of 64 colours comes up in the pictures of a style."""
    looks = general(1, 30) if style is None else styled(style, 1, 30)
    bins = np.concatenate([(draw.draw(look) // 64).reshape(-1, 3) for look in looks]).astype(int)
    counts = np.bincount(bins @ np.array([16, 4, 1]), minlength=64)
    return np.asarray(counts / counts.sum())


def test_each_style_has_colours_of_its_own() -> None:
    found = {style: palette(style) for style in (None, *STYLES)}
    for style in STYLES:
        for other in found:
            if other != style:
                assert np.abs(found[style] - found[other]).sum() / 2 > 0.35, (style, other)


def test_each_style_has_its_light() -> None:
    street = draw.draw(styled("monochrome street", 2, 1)[0]).astype(int)
    assert np.ptp(street, axis=2).max() == 0
    for look in styled("vintage floral", 2, 3):
        picture = draw.draw(look).astype(float)
        assert picture[..., 0].mean() > picture[..., 2].mean() + 25
        assert picture[24:40, :8].mean() > picture[:4, :4].mean()
    for look in styled("pastel romantic", 2, 3):
        assert draw.draw(look).mean() > 195


@pytest.mark.parametrize("style", list(STYLES))
def test_every_garment_can_have_every_pattern_of_a_style(style: str) -> None:
    made = STYLES[style]
    for garment in GARMENTS:
        pictures = [
            draw.draw(Look(garment, name, next(iter(made.colours)), list(made.accents)[-1], made.background, style, 1))
            for name in made.patterns
        ]
        assert np.abs(pictures[0].astype(int) - pictures[1].astype(int)).mean() > 0.8, garment
