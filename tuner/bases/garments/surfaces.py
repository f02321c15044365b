"""Patterns and textures of the general set, painted over the whole canvas on cloth of the main colour.

Knows no outline. Sizes are in units of the picture and large enough to be told apart at 64 pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from PIL import Image

from tuner.bases.garments.brush import Brush
from tuner.bases.garments.palette import COLOURS, RGB, deep, distance, lightness, mix, pale

LOW, HIGH = -0.25, 1.25
"""The canvas is painted beyond its edges, so that a turned pattern leaves no bare corner."""


def steps(gap: float) -> Iterator[float]:
    """Places from one edge to the other, `gap` apart."""
    return iter(np.arange(LOW, HIGH, gap).tolist())


def staggered(brush: Brush, gap: float, row: float) -> Iterator[tuple[float, float]]:
    """Places on the canvas in rows, every other row shifted by half a gap."""
    for number, y in enumerate(steps(row)):
        for x in steps(gap):
            place = x + gap / 2 * (number % 2), y
            if brush.sees(*place, gap):
                yield place


def plain(brush: Brush) -> None:
    """Cloth of one colour."""


def striped(brush: Brush) -> None:
    """Bands of the accent: across, upright or slanting, in one of several widths."""
    gap = float(brush.rng.choice([0.13, 0.155, 0.19]))
    brush.tilt_more(float(brush.rng.choice([0.0, 0.0, np.pi / 2, np.pi / 2, np.pi / 4])))
    for y in steps(gap):
        brush.box(LOW, y, HIGH, y + gap * 0.48, brush.accent)


def dotted(brush: Brush) -> None:
    """Dots of the accent in shifted rows."""
    gap = float(brush.rng.choice([0.15, 0.17, 0.19]))
    for x, y in staggered(brush, gap, gap * 0.87):
        brush.dot(x, y, gap * 0.275, brush.accent)


def checked(brush: Brush) -> None:
    """Squares of both colours, as on a chessboard."""
    side = float(brush.rng.choice([0.126, 0.14]))
    for row, y in enumerate(steps(side)):
        for x in steps(2 * side):
            left = x + side * (row % 2)
            brush.box(left, y, left + side, y + side, brush.accent)


def flower(brush: Brush, x: float, y: float, radius: float, colours: tuple[RGB, RGB, RGB], turn: float) -> None:
    """Two leaves, five petals and a centre, within `radius`. `colours` are those of petals, centre and leaves."""
    petal, centre, leaf = colours
    for side in (turn + 0.6, turn + 0.6 + np.pi):
        c, s = float(np.cos(side)), float(np.sin(side))
        tip, wing = radius * 1.45, radius * 0.34
        middle = (x + c * tip * 0.65, y + s * tip * 0.65)
        brush.shape(
            [
                (x, y),
                (middle[0] - s * wing, middle[1] + c * wing),
                (x + c * tip, y + s * tip),
                (middle[0] + s * wing, middle[1] - c * wing),
            ],
            leaf,
        )
    for step in range(5):
        angle = turn + step * 2 * np.pi / 5
        brush.dot(
            x + float(np.cos(angle)) * radius * 0.58, y + float(np.sin(angle)) * radius * 0.58, radius * 0.44, petal
        )
    brush.dot(x, y, radius * 0.32, centre)


def floral(brush: Brush) -> None:
    """Flowers of the accent with a bright centre and leaves."""
    gap = float(brush.rng.choice([0.235, 0.26]))
    centres = (COLOURS["yellow"], COLOURS["brown"])
    centre = centres[0] if distance(centres[0], brush.accent) > 200 else centres[1]
    leaves: tuple[RGB, ...] = ((58, 140, 62), (18, 84, 44), (150, 200, 90))
    leaf = max(
        leaves, key=lambda rgb: min(distance(rgb, brush.main), 180) + 0.2 * min(distance(rgb, brush.accent), 180)
    )
    for x, y in staggered(brush, gap, gap * 0.8):
        moved = brush.rng.uniform(-0.012, 0.012, 2).tolist()
        turn = float(brush.rng.uniform(0, 2 * np.pi))
        flower(brush, x + moved[0], y + moved[1], 0.079, (brush.accent, centre, leaf), turn)


def ribbed(brush: Brush) -> None:
    """Narrow upright ribs of a deeper shade."""
    shade = deep(brush.main, 0.32) if lightness(brush.main) > 60 else pale(brush.main, 0.24)
    for x in steps(0.066):
        brush.box(x, LOW, x + 0.028, HIGH, shade)


def quilted(brush: Brush) -> None:
    """Padded diamonds between stitched lines."""
    dark = lightness(brush.main) < 60
    edge, glow = (
        (pale(brush.main, 0.3), pale(brush.main, 0.12)) if dark else (deep(brush.main, 0.42), pale(brush.main, 0.22))
    )
    brush.tilt_more(float(np.pi / 4))
    gap = 0.15
    for x in steps(gap):
        for y in steps(gap):
            brush.dot(x + gap * 0.45, y + gap * 0.45, gap * 0.27, glow)
    for at in steps(gap):
        brush.box(at - 0.01, LOW, at + 0.01, HIGH, edge)
        brush.box(LOW, at - 0.01, HIGH, at + 0.01, edge)


def speckled(brush: Brush) -> None:
    """Many small specks of the accent, of several sizes, at chance places."""
    specks = brush.rng.random((230, 3))
    for x, y, size in specks.tolist():
        brush.dot(x, y, 0.009 + 0.011 * size, brush.accent)


def gradient(brush: Brush) -> None:
    """The colour at the top runs into the accent at the bottom."""
    ramp = Image.linear_gradient("L").resize(brush.image.size)
    top, low = (Image.new("RGB", brush.image.size, rgb) for rgb in (brush.main, brush.accent))
    brush.image.paste(Image.composite(low, top, ramp.point([min(255, max(0, (v - 84) * 2)) for v in range(256)])))


def plaid(brush: Brush) -> None:
    """Broad bands crossing, darker where they meet, with a thin line of the accent between them."""
    gap, band = 0.25, 0.105
    half, thin = mix(brush.main, brush.accent, 0.42), mix(brush.main, brush.accent, 0.85)
    for at in steps(gap):
        brush.box(LOW, at, HIGH, at + band, half)
        brush.box(at, LOW, at + band, HIGH, half)
    for y in steps(gap):
        for x in steps(gap):
            brush.box(x, y, x + band, y + band, thin)
    for at in steps(gap):
        middle = at + (gap + band) / 2
        brush.box(LOW, middle - 0.011, HIGH, middle + 0.011, thin)
        brush.box(middle - 0.011, LOW, middle + 0.011, HIGH, thin)


def zigzag(brush: Brush) -> None:
    """Lines of the accent that go up and down."""
    gap, wave, rise = 0.17, 0.15, 0.085
    for y in steps(gap):
        points = [(x, y + rise * (number % 2)) for number, x in enumerate(steps(wave / 2))]
        brush.shape(points + [(x, low + 0.075) for x, low in reversed(points)], brush.accent)


SURFACES: dict[str, Callable[[Brush], None]] = {
    "plain": plain,
    "striped": striped,
    "dotted": dotted,
    "checked": checked,
    "floral": floral,
    "ribbed": ribbed,
    "quilted": quilted,
    "speckled": speckled,
    "gradient": gradient,
    "plaid": plaid,
    "zigzag": zigzag,
}
