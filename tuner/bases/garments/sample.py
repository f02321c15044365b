"""Draws looks by chance: of the general set, or of one style. Different seeds give different sets."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from tuner.bases.garments.backgrounds import mean_rgb
from tuner.bases.garments.look import BACKGROUNDS, GARMENTS, ONE_COLOUR, PATTERNS, TEXTURES, Look
from tuner.bases.garments.palette import COLOURS, distance
from tuner.bases.garments.styles import STYLES

TEXTURED = 0.25
"""The part of the general set that has a texture instead of a pattern."""

APART = 150.0
"""How far a garment's colour must be from the mean of what is behind it."""

CONTRAST = 260.0
"""How far an accent must be from the colour it lies on."""


@lru_cache(maxsize=64)
def backgrounds_for(colour: str) -> tuple[str, ...]:
    """The backgrounds from which a garment of this colour stands out."""
    return tuple(name for name in BACKGROUNDS if distance(COLOURS[colour], mean_rgb(name)) >= APART)


@lru_cache(maxsize=64)
def accents_for(colour: str) -> tuple[str, ...]:
    """The colours that contrast well with this one; white and black come up twice as often as any other."""
    far = [name for name, rgb in COLOURS.items() if distance(COLOURS[colour], rgb) >= CONTRAST]
    return tuple(far + [name for name in far if name in ("white", "black")])


def general(seed: int, count: int) -> list[Look]:
    """`count` looks without style: garments, colours and patterns alike often, a quarter of them with a texture."""
    rng = np.random.default_rng([seed, 10])
    looks = []
    for _ in range(count):
        garment, colour = GARMENTS[int(rng.integers(len(GARMENTS)))], list(COLOURS)[int(rng.integers(len(COLOURS)))]
        surfaces = TEXTURES if rng.random() < TEXTURED else PATTERNS
        pattern = surfaces[int(rng.integers(len(surfaces)))]
        accents, places = accents_for(colour), backgrounds_for(colour)
        accent = accents[int(rng.integers(len(accents)))]
        place = places[int(rng.integers(len(places)))]
        own = int(rng.integers(2**31))
        looks.append(Look(garment, pattern, colour, colour if pattern in ONE_COLOUR else accent, place, None, own))
    return looks


def styled(style: str, seed: int, count: int) -> list[Look]:
    """`count` looks of one style. Raises `ValueError` for a style that is not one of `STYLES`."""
    if style not in STYLES:
        raise ValueError(f"style = {style!r}: must be one of {', '.join(STYLES)}")
    made = STYLES[style]
    pairs = [
        (colour, accent)
        for colour, main in made.colours.items()
        for accent, rgb in made.accents.items()
        if distance(main, rgb) >= 160 or len(made.accents) == 1
    ]
    patterns = list(made.patterns)
    rng = np.random.default_rng([seed, 11, list(STYLES).index(style)])
    looks = []
    for _ in range(count):
        garment, pattern = GARMENTS[int(rng.integers(len(GARMENTS)))], patterns[int(rng.integers(len(patterns)))]
        colour, accent = pairs[int(rng.integers(len(pairs)))]
        looks.append(Look(garment, pattern, colour, accent, made.background, style, int(rng.integers(2**31))))
    return looks
