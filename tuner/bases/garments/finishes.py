"""The light of a style over a whole finished picture, and how strongly cloth is shaded under it.

Knows no garment: it changes colours only. Pictures are (size, size, 3) float32, 0 to 255.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.float32]

HARDNESS: dict[str | None, float] = {
    None: 1.0,
    "vintage floral": 0.8,
    "denim": 1.0,
    "monochrome street": 1.7,
    "pastel romantic": 0.55,
}
"""How strong folds, light and shadow are, by style."""


@lru_cache(maxsize=16)
def _far(size: int) -> NDArray[np.float32]:
    """How far each pixel is from the middle, squared: 0 there, 1 at the corners; (size, size, 1)."""
    at = (np.arange(size, dtype=np.float32) + 0.5) / size - 0.5
    return np.asarray(2 * (at[:, None] ** 2 + at[None, :] ** 2), dtype=np.float32)[..., None]


def _vintage(picture: Picture) -> Picture:
    """Sepia: less colour, warmer, the corners darker, black not quite black."""
    grey = picture.mean(axis=2, keepdims=True)
    faded = (
        picture * 0.72
        + grey * np.array([0.30, 0.255, 0.195], dtype=np.float32)
        + np.array([12, 8, 2], dtype=np.float32)
    )
    return np.asarray(faded * (1.02 - 0.34 * _far(picture.shape[0])), dtype=np.float32)


def _street(picture: Picture) -> Picture:
    """Hard light without any colour."""
    grey = picture.mean(axis=2, keepdims=True)
    return np.asarray(np.broadcast_to((grey - 128) * 1.12 + 126, picture.shape), dtype=np.float32)


def _hazy(picture: Picture) -> Picture:
    """A haze of pale pink, thicker towards the corners."""
    haze = 0.08 + 0.22 * _far(picture.shape[0])
    return np.asarray(picture * (1 - haze) + np.array([255, 236, 242], dtype=np.float32) * haze, dtype=np.float32)


FINISHES: dict[str | None, Callable[[Picture], Picture]] = {
    "vintage floral": _vintage,
    "monochrome street": _street,
    "pastel romantic": _hazy,
}
