"""Many pictures drawn at once, for training on them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tuner.bases.garments.draw import draw
from tuner.bases.garments.look import Look
from tuner.bases.garments.sample import general, styled
from tuner.bases.garments.styles import STYLES

SIZE = 64


def drawn(looks: Sequence[Look], size: int = SIZE) -> np.ndarray:
    """The pictures of these looks (N, size, size, 3), uint8."""
    pictures = np.empty((len(looks), size, size, 3), dtype=np.uint8)
    for number, look in enumerate(looks):
        pictures[number] = draw(look, size)
    return pictures


def mixed(seed: int, count: int, share: float) -> list[Look]:
    """`count` looks of which about `share` are of a style, each style alike often."""
    each = round(count * share / len(STYLES))
    return general(seed, count - each * len(STYLES)) + [look for style in STYLES for look in styled(style, seed, each)]
