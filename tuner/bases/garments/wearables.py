"""Shoes, boots, bag and hat, each as parts in the unit square. Knows no colour and no pose."""

from __future__ import annotations

import numpy as np

from tuner.bases.garments.outline import Cut, Garment, Part, arc, box, disc, line, mirrored, rounded


def _shoe(dx: float, dy: float, toe: float, high: float) -> tuple[Part, ...]:
    """One low laced shoe from the side, its toe to the left."""
    by = np.array([dx, dy])
    upper = rounded(
        [
            (0.82, 0.4 - high, 0.3),
            (0.84, 0.66, 0.2),
            (0.1, 0.68, 0.3),
            (0.06 + toe, 0.57, 0.9),
            (0.24, 0.5, 0.8),
            (0.4, 0.38 - high, 0.6),
            (0.52, 0.31 - high, 0.4),
            (0.66, 0.45 - high, 0.9),
        ]
    )
    sole = rounded([(0.07 + toe, 0.655, 0.3), (0.85, 0.655, 0.3), (0.86, 0.722, 0.4), (0.09 + toe, 0.722, 0.6)])
    counter = rounded([(0.73, 0.445 - high, 0.4), (0.82, 0.4 - high, 0.3), (0.84, 0.64, 0.1), (0.7, 0.64, 0.1)])
    opening = rounded(
        [(0.53, 0.32 - high, 0.2), (0.66, 0.45 - high, 0.9), (0.81, 0.405 - high, 0.2), (0.67, 0.375 - high, 0.9)]
    )
    parts = [Part(upper + by), Part(counter + by, "deep", 0.01), Part(opening + by, "inside", 0.008)]
    parts += [Part(arc((0.26, 0.495), (0.32, 0.54), (0.29, 0.64)) + by, "seam", 0.012)]
    for step in range(4):
        x, y = 0.35 + 0.05 * step, 0.435 - high * 0.6 - 0.033 * step
        parts.append(Part(line((x, y), (x + 0.075, y + 0.075)) + by, "lace", 0.022))
    return (*parts, Part(sole + by, "sole"))


def shoes(cut: Cut) -> Garment:
    """A pair of low laced shoes, one behind the other."""
    toe, high = 0.02 * cut.length, 0.015 * cut.width
    back, front = _shoe(0.12, -0.15, toe, high), _shoe(-0.03, 0.12, toe, high)
    folds = (line((0.3, 0.66), (0.42, 0.6)), line((0.48, 0.72), (0.62, 0.68)))
    return Garment(back + front, folds, stands=True)


def _boot(dx: float, dy: float, cut: Cut) -> tuple[Part, ...]:
    """One tall boot from the side, its toe to the left, on a high heel."""
    by = np.array([dx, dy])
    top, shaft = 0.07 - 0.025 * cut.length, 0.015 * cut.width
    upper = rounded(
        [
            (0.35 - shaft, top, 0.1),
            (0.63 + shaft, top, 0.1),
            (0.61 + shaft, 0.4, 0.8),
            (0.585, 0.64, 0.6),
            (0.63, 0.8, 0.4),
            (0.61, 0.87, 0.2),
            (0.47, 0.84, 0.4),
            (0.33, 0.9, 0.6),
            (0.06, 0.9, 0.4),
            (0.05, 0.8, 0.9),
            (0.24, 0.72, 0.8),
            (0.385, 0.6, 0.8),
            (0.37 - shaft, 0.36, 0.8),
        ]
    )
    heel = rounded([(0.49, 0.835, 0), (0.635, 0.82, 0.2), (0.615, 0.95, 0), (0.515, 0.95, 0)])
    sole = rounded(
        [
            (0.05, 0.88, 0.4),
            (0.33, 0.885, 0.6),
            (0.48, 0.83, 0.3),
            (0.5, 0.86, 0.2),
            (0.34, 0.93, 0.6),
            (0.07, 0.935, 0.4),
        ]
    )
    cuff = rounded(
        [
            (0.343 - shaft, top - 0.01, 0.1),
            (0.637 + shaft, top - 0.01, 0.1),
            (0.632 + shaft, top + 0.08, 0),
            (0.352 - shaft, top + 0.08, 0),
        ]
    )
    return (
        Part(heel + by, "heel", 0.01),
        Part(upper + by),
        Part(cuff + by, "deep", 0.011),
        Part(sole + by, "heel", 0.008),
        Part(arc((0.52 + shaft, top + 0.09), (0.5, 0.4), (0.5, 0.68)) + by, "seam", 0.014),
        Part(arc((0.385, 0.6), (0.44, 0.68), (0.57, 0.67)) + by, "seam", 0.01),
    )


def boots(cut: Cut) -> Garment:
    """A pair of tall boots with high heels, one behind the other."""
    back, front = _boot(0.285, -0.03, cut), _boot(0.02, 0.01, cut)
    folds = (line((0.4, 0.56), (0.56, 0.6)), line((0.42, 0.16), (0.44, 0.5)), line((0.27, 0.76), (0.4, 0.68)))
    return Garment(back + front, folds, stands=True)


def bag(cut: Cut) -> Garment:
    """A handbag: an arched handle over a body with a flap and a clasp."""
    top, low = 0.42 + 0.03 * cut.length, 0.87
    w, wide = 0.31 + 0.03 * cut.width, 0.365 + 0.03 * cut.flare
    grip, rise = 0.2 + 0.03 * cut.sleeve, 0.08 + 0.03 * cut.length
    outer = (
        arc((0.5 - grip, top + 0.05), (0.5 - grip, rise), (0.5, rise)),
        arc((0.5, rise), (0.5 + grip, rise), (0.5 + grip, top + 0.05)),
    )
    thin = 0.05
    inner = (
        arc((0.5 + grip - thin, top + 0.05), (0.5 + grip - thin, rise + thin), (0.5, rise + thin)),
        arc((0.5, rise + thin), (0.5 - grip + thin, rise + thin), (0.5 - grip + thin, top + 0.05)),
    )
    body = mirrored([(0, top, 0), (w, top, 0.35), (wide, low - 0.02, 0.4), (0, low, 0)])
    flap = mirrored(
        [
            (0, top - 0.005, 0),
            (w + 0.003, top - 0.005, 0.3),
            (w + 0.025, top + 0.14, 0.5),
            (0.12, top + 0.24, 0.7),
            (0, top + 0.24, 0.5),
        ]
    )
    rings = [Part(disc(0.5 + side * (grip - thin / 2), top + 0.025, 0.032), "metal", 0.008) for side in (-1, 1)]
    parts = (
        Part(np.concatenate([*outer, *inner]), "deep", 0.012),
        Part(body),
        Part(flap),
        *rings,
        Part(box(0.455, top + 0.19, 0.545, top + 0.275), "metal", 0.011),
        Part(line((0.5 - wide + 0.03, low - 0.055), (0.5 + wide - 0.03, low - 0.055)), "seam", 0.009),
    )
    folds = (line((0.22, 0.62), (0.2, 0.82)), line((0.78, 0.62), (0.8, 0.82)))
    return Garment(parts, folds, stands=True)


def hat(cut: Cut) -> Garment:
    """A hat seen from the front and a little above: a wide brim, a band, a dented crown."""
    wide, high = 0.45 + 0.025 * cut.flare, 0.22 - 0.04 * cut.length
    crown, low = 0.245 + 0.02 * cut.width, 0.66
    brim = rounded(
        [
            (0.5 - wide, low - 0.03, 0.7),
            (0.3, low - 0.05, 0.8),
            (0.7, low - 0.05, 0.8),
            (0.5 + wide, low - 0.03, 0.7),
            (0.5 + wide * 0.62, low + 0.14, 0.9),
            (0.5, low + 0.16, 0.9),
            (0.5 - wide * 0.62, low + 0.14, 0.9),
        ]
    )
    top = mirrored(
        [
            (0, high + 0.03, 0.9),
            (crown * 0.45, high - 0.03, 0.8),
            (crown * 0.93, high + 0.04, 0.8),
            (crown, low - 0.02, 0.1),
            (0, low + 0.055, 1),
        ]
    )
    band = mirrored(
        [(0, low - 0.06, 1), (crown * 0.985, low - 0.135, 0), (crown + 0.004, low - 0.02, 0.1), (0, low + 0.055, 1)]
    )
    dent = arc((0.5, high + 0.03), (0.47, high + 0.1), (0.49, high + 0.2))
    parts = (Part(brim), Part(top), Part(band, "ribbon", 0.011), Part(dent, "seam", 0.014))
    folds = (line((0.38, high + 0.08), (0.36, low - 0.16)), line((0.62, high + 0.08), (0.65, low - 0.16)))
    return Garment(parts, folds, stands=True)
