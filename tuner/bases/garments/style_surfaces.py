"""Patterns of the four styles, painted like those of the general set; and the trims along a garment's edge.

Knows no garment. Sizes are in units of the picture.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import ImageDraw

from tuner.bases.garments.brush import Brush, pixels
from tuner.bases.garments.outline import Points
from tuner.bases.garments.palette import RGB, deep, mix, pale
from tuner.bases.garments.surfaces import HIGH, LOW, flower, staggered, steps

STITCH: RGB = (250, 146, 30)
LACE: RGB = (255, 252, 252)
LEAF: RGB = (112, 130, 84)


def _rose(brush: Brush, x: float, y: float, radius: float, turn: float) -> None:
    """A rose seen from above: two leaves and rings of petals, each a little off the middle."""
    for side in (turn, turn + 2.4):
        c, s = float(np.cos(side)), float(np.sin(side))
        brush.shape(
            [
                (x, y),
                (x + radius * (1.1 * c - 0.5 * s), y + radius * (1.1 * s + 0.5 * c)),
                (x + 1.8 * radius * c, y + 1.8 * radius * s),
                (x + radius * (1.1 * c + 0.5 * s), y + radius * (1.1 * s - 0.5 * c)),
            ],
            LEAF,
        )
    brush.dot(x, y, radius, deep(brush.accent, 0.24))
    brush.dot(x - radius * 0.12, y - radius * 0.14, radius * 0.78, brush.accent)
    brush.dot(x + radius * 0.1, y + radius * 0.06, radius * 0.5, deep(brush.accent, 0.2))
    brush.dot(x + radius * 0.02, y - radius * 0.06, radius * 0.3, pale(brush.accent, 0.35))


def roses(brush: Brush) -> None:
    """Small roses with leaves, strewn over faded cloth."""
    for x, y in staggered(brush, 0.2, 0.165):
        right, down, turn = brush.rng.random(3).tolist()
        _rose(brush, x + 0.03 * (right - 0.5), y + 0.03 * (down - 0.5), 0.05, 6.28 * turn)


def rose_garland(brush: Brush) -> None:
    """Rows of roses along winding stems, on upright bands of a paler shade."""
    gap = 0.21
    for x in steps(gap):
        brush.box(x - 0.055, LOW, x + 0.055, HIGH, pale(brush.main, 0.4))
        stem = [(x + 0.022 * float(np.sin(y * 24)), y) for y in steps(0.04)]
        brush.stroke(stem, 0.016, LEAF)
        for y in steps(0.15):
            _rose(brush, x, y + 0.05, 0.048, float(brush.rng.uniform(0, 6.28)))


def twill(brush: Brush) -> None:
    """The slanting weave of denim."""
    brush.tilt_more(float(np.pi * 0.3))
    light, dark = pale(brush.main, 0.13), deep(brush.main, 0.1)
    for y in steps(0.04):
        brush.box(LOW, y, HIGH, y + 0.015, light)
        brush.box(LOW, y + 0.02, HIGH, y + 0.03, dark)


def faded_twill(brush: Brush) -> None:
    """Denim that is worn pale in the middle."""
    for step in range(6):
        for x, y in ((0.4, 0.34), (0.6, 0.34), (0.5, 0.62)):
            brush.dot(x, y, 0.19 - 0.03 * step, pale(brush.main, 0.08 + 0.07 * step))
    brush.tilt_more(float(np.pi * 0.3))
    light, dark = pale(brush.main, 0.26), deep(brush.main, 0.08)
    for y in steps(0.04):
        brush.box(LOW, y, HIGH, y + 0.011, light)
        brush.box(LOW, y + 0.022, HIGH, y + 0.031, dark)


def bold_stripe(brush: Brush) -> None:
    """One broad band across between two thin ones."""
    at = 0.47 + float(brush.rng.uniform(-0.06, 0.06))
    if brush.rng.random() < 0.4:
        brush.tilt_more(float(np.pi * 0.25))
    brush.box(LOW, at, HIGH, at + 0.17, brush.accent)
    for y in (at - 0.075, at + 0.21):
        brush.box(LOW, y, HIGH, y + 0.035, brush.accent)


def blocks(brush: Brush) -> None:
    """Halves of both colours, changed about at the waist."""
    grey = mix(brush.main, brush.accent, 0.45)
    brush.box(0.5, LOW, HIGH, 0.54, brush.accent)
    brush.box(LOW, 0.54, 0.5, HIGH, grey)


def letters(brush: Brush) -> None:
    """Big letters of straight strokes, in rows."""
    strokes = {
        "X": ((0, 0, 1, 1), (1, 0, 0, 1)),
        "N": ((0, 1, 0, 0), (0, 0, 1, 1), (1, 1, 1, 0)),
        "H": ((0, 0, 0, 1), (1, 0, 1, 1), (0, 0.5, 1, 0.5)),
        "Z": ((0, 0, 1, 0), (1, 0, 0, 1), (0, 1, 1, 1)),
    }
    names = list(strokes)
    high, wide = 0.19, 0.15
    for row, top in enumerate((-0.06, 0.2, 0.46, 0.72, 0.98)):
        for x in np.arange(-0.2 + 0.11 * (row % 2), 1.2, 0.235).tolist():
            for a, b, c, d in strokes[names[int(brush.rng.integers(len(names)))]]:
                brush.stroke([(x + a * wide, top + b * high), (x + c * wide, top + d * high)], 0.046, brush.accent)


def blossoms(brush: Brush) -> None:
    """Tiny five-petalled blossoms."""
    petals = pale(mix(brush.main, (240, 120, 170), 0.5), 0.1)
    for number, (x, y) in enumerate(staggered(brush, 0.16, 0.13)):
        right, down, turn = brush.rng.random(3).tolist()
        petal = LACE if number % 2 else petals
        flower(
            brush,
            x + 0.03 * (right - 0.5),
            y + 0.03 * (down - 0.5),
            0.044,
            (petal, (252, 226, 130), (150, 206, 170)),
            turn,
        )


def lace(brush: Brush) -> None:
    """Cloth with rows of lace: scalloped white bands with holes."""
    for y in steps(0.26):
        brush.box(LOW, y, HIGH, y + 0.075, LACE)
        for x in steps(0.075):
            brush.dot(x, y + 0.075, 0.036, LACE)
            brush.dot(x, y + 0.07, 0.015, brush.main)
            brush.dot(x + 0.037, y + 0.025, 0.013, brush.main)


def _along(points: Points, gap: float) -> Points:
    """Places on a closed outline, about `gap` apart."""
    closed = np.concatenate([points, points[:1]])
    lengths = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(closed, axis=0).T))])
    at = np.linspace(0, lengths[-1], max(4, int(lengths[-1] / gap)), endpoint=False)
    return np.stack([np.interp(at, lengths, closed[:, 0]), np.interp(at, lengths, closed[:, 1])], axis=1)


def stitched(pen: ImageDraw.ImageDraw, mask: ImageDraw.ImageDraw, outline: Points, main: RGB) -> None:
    """Orange top-stitching: dashes a little inside the outline."""
    canvas = pen.im.size[0]
    dense = _along(outline, 0.026)
    ahead = np.roll(dense, -1, axis=0) - np.roll(dense, 1, axis=0)
    normal = np.stack([-ahead[:, 1], ahead[:, 0]], axis=1) / (np.hypot(*ahead.T)[:, None] + 1e-9)
    x, y = dense.T
    turns = float(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y))
    inner = dense + normal * (0.032 if turns > 0 else -0.032)
    width = max(1, round(0.019 * canvas))
    for start in range(0, len(inner) - 1, 2):
        pen.line(pixels(inner[start : start + 2], canvas), fill=STITCH, width=width)


def scalloped(pen: ImageDraw.ImageDraw, mask: ImageDraw.ImageDraw, outline: Points, main: RGB) -> None:
    """A lace trim: white scallops with a hole each, that widen the outline."""
    canvas = pen.im.size[0]
    places = _along(outline, 0.046) * canvas
    reach, hole, edge = 0.026 * canvas, 0.009 * canvas, 0.006 * canvas
    shade = deep(main, 0.22)
    for radius, colour in ((reach + edge, shade), (reach, LACE), (hole, shade)):
        for x, y in np.rint(places).tolist():
            where = [x - radius, y - radius, x + radius, y + radius]
            pen.ellipse(where, fill=colour)
            mask.ellipse(where, fill=255)


STYLE_SURFACES: dict[str, Callable[[Brush], None]] = {
    "roses": roses,
    "rose garland": rose_garland,
    "twill": twill,
    "faded twill": faded_twill,
    "bold stripe": bold_stripe,
    "blocks": blocks,
    "letters": letters,
    "blossoms": blossoms,
    "lace": lace,
}

TRIMS: dict[str, Callable[[ImageDraw.ImageDraw, ImageDraw.ImageDraw, Points, RGB], None]] = {
    "denim": stitched,
    "pastel romantic": scalloped,
}
