"""Smooth closed outlines, and the parts a garment is put together from.

Points are in the unit square, y downwards. Knows no garment.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]

STEPS = np.linspace(0.0, 1.0, 7)[:, None]


@dataclass(frozen=True)
class Part:
    """One piece, painted over those before it.

    `tone` says of what: "cloth" (the patterned surface), "deep" or "pale" (a shade of the garment's colour), "inside",
    "metal", "button", "sole", "heel", "ribbon"; "seam" and "lace" are lines, not filled. `width` is that of the line or
    of the outline around what is filled, in units of the picture.
    """

    points: Points
    tone: str = "cloth"
    width: float = 0.014


@dataclass(frozen=True)
class Cut:
    """How one garment deviates from its usual cut, each -1 to 1, and which of its variants it is (0 to 1)."""

    width: float
    length: float
    sleeve: float
    flare: float
    variant: float


@dataclass(frozen=True)
class Garment:
    """The parts in order of painting; `folds` are lines along which the cloth bends; `stands` on the ground or not."""

    parts: tuple[Part, ...]
    folds: tuple[Points, ...]
    stands: bool = False


def rounded(corners: Sequence[tuple[float, float, float]]) -> Points:
    """A closed outline through corners (x, y, roundness): 0 is sharp, 1 is round from mid edge to mid edge.

    Each corner becomes a quadratic Bézier curve; the result has 7 points for each.
    """
    given = np.array(corners)
    at, reach = given[:, :2], given[:, 2:] / 2
    start = at + (np.concatenate([at[-1:], at[:-1]]) - at) * reach
    end = at + (np.concatenate([at[1:], at[:1]]) - at) * reach
    curve = (
        start * (1 - STEPS[:, None]) ** 2 + 2 * at * STEPS[:, None] * (1 - STEPS[:, None]) + end * STEPS[:, None] ** 2
    )
    return np.asarray(curve.transpose(1, 0, 2).reshape(-1, 2))


def mirrored(half: Sequence[tuple[float, float, float]]) -> Points:
    """A symmetric outline from its right half, top to bottom; x is counted from the axis, which is put at 0.5."""
    left = [(-x, y, r) for x, y, r in reversed(half) if x > 0]
    return rounded([(0.5 + x, y, r) for x, y, r in [*half, *left]])


def both(points: Points) -> tuple[Points, Points]:
    """The points and their mirror image."""
    return points, points * [-1, 1] + [1, 0]


def line(*points: tuple[float, float]) -> Points:
    """An open line through the points."""
    return np.array(points)


def arc(start: tuple[float, float], control: tuple[float, float], end: tuple[float, float]) -> Points:
    """An open curve from start to end, bent towards the control point."""
    a, b, c = np.array(start), np.array(control), np.array(end)
    return np.asarray(a * (1 - STEPS) ** 2 + 2 * b * STEPS * (1 - STEPS) + c * STEPS**2)


def disc(x: float, y: float, radius: float, height: float | None = None) -> Points:
    """A circle, or an ellipse where a height is given."""
    turn = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    return np.stack([x + radius * np.cos(turn), y + (height or radius) * np.sin(turn)], axis=1)


def box(left: float, top: float, right: float, bottom: float) -> Points:
    """A rectangle."""
    return np.array([(left, top), (right, top), (right, bottom), (left, bottom)])
