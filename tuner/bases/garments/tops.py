"""T-shirt, shirt, dress and coat, each as parts in the unit square. Knows no colour and no pose."""

from __future__ import annotations

from tuner.bases.garments.outline import Cut, Garment, Part, arc, both, box, disc, line, mirrored, rounded


def t_shirt(cut: Cut) -> Garment:
    """Short sleeves, a round neck, no opening."""
    w, hem = 0.245 + 0.02 * cut.width, 0.88 + 0.05 * cut.length
    out, down = 0.45 + 0.02 * cut.sleeve, 0.38 + 0.03 * cut.sleeve
    body = mirrored(
        [
            (0, 0.15, 1),
            (0.1, 0.11, 0.3),
            (w + 0.02, 0.17, 0.6),
            (out, down, 0.25),
            (out - 0.11, down + 0.11, 0.2),
            (w - 0.01, 0.34, 0.25),
            (w - 0.01, 0.6, 0.8),
            (w + 0.015 + 0.02 * cut.flare, hem, 0.15),
            (0, hem + 0.01, 1),
        ]
    )
    band = rounded(
        [(0.39, 0.11, 0), (0.5, 0.15, 1), (0.61, 0.11, 0), (0.6, 0.22, 0.9), (0.5, 0.27, 0.9), (0.4, 0.22, 0.9)]
    )
    inside = rounded(
        [(0.415, 0.125, 0), (0.5, 0.15, 1), (0.585, 0.125, 0), (0.57, 0.21, 0.9), (0.5, 0.235, 1), (0.43, 0.21, 0.9)]
    )
    seams = [
        *both(arc((0.5 + w + 0.01, 0.18), (0.5 + w - 0.03, 0.26), (0.5 + w - 0.012, 0.345))),
        *both(line((0.5 + out - 0.028, down - 0.02), (0.5 + out - 0.138, down + 0.088))),
        arc((0.5 - w, hem - 0.035), (0.5, hem - 0.025), (0.5 + w, hem - 0.035)),
    ]
    folds = [
        *both(line((0.5 + w - 0.03, 0.4), (0.56, 0.56))),
        line((0.58, 0.64), (0.62, hem - 0.06)),
        line((0.42, 0.55), (0.38, hem - 0.06)),
    ]
    parts = [Part(body), Part(band, "deep"), Part(inside, "inside"), *(Part(seam, "seam", 0.009) for seam in seams)]
    return Garment(tuple(parts), tuple(folds))


def shirt(cut: Cut) -> Garment:
    """Long sleeves with cuffs, a collar, a placket with buttons and a breast pocket."""
    w, hem = 0.225 + 0.02 * cut.width, 0.86 + 0.04 * cut.length
    wrist, out = 0.78 + 0.04 * cut.sleeve, 0.43 + 0.02 * cut.sleeve
    body = mirrored(
        [
            (0, 0.14, 1),
            (0.1, 0.1, 0.3),
            (w + 0.03, 0.165, 0.6),
            (out - 0.04, 0.45, 0.8),
            (out, wrist, 0.15),
            (out - 0.1, wrist + 0.02, 0.15),
            (out - 0.14, 0.52, 0.6),
            (w, 0.34, 0.3),
            (w - 0.005, 0.6, 0.8),
            (w + 0.02, hem - 0.05, 0.5),
            (0.1, hem + 0.03, 0.8),
            (0, hem + 0.03, 0.5),
        ]
    )
    cuff = rounded(
        [
            (0.5 + out - 0.012, wrist - 0.075, 0),
            (0.5 + out + 0.005, wrist, 0.2),
            (0.5 + out - 0.105, wrist + 0.02, 0.2),
            (0.5 + out - 0.112, wrist - 0.055, 0),
        ]
    )
    inside = rounded([(0.42, 0.095, 0), (0.5, 0.12, 1), (0.58, 0.095, 0), (0.5, 0.225, 0.2)])
    flap = rounded([(0.585, 0.075, 0.4), (0.64, 0.2, 0.15), (0.575, 0.265, 0.15), (0.497, 0.2, 0.1)])
    parts = [Part(body), *(Part(side, "deep") for side in both(cuff)), Part(inside, "inside")]
    parts += [Part(box(0.475, 0.22, 0.525, hem + 0.012), "pale", 0.009)]
    parts += [Part(side, "pale") for side in both(flap)]
    parts += [Part(disc(0.5, y, 0.017), "button", 0.005) for y in (0.31, 0.43, 0.55, 0.67, 0.79)]
    pocket = rounded(
        [(0.56, 0.37, 0), (0.66, 0.37, 0), (0.66, 0.47, 0.2), (0.61, 0.5, 0.2), (0.56, 0.47, 0.2), (0.56, 0.37, 0)]
    )
    parts += [Part(pocket, "seam", 0.01)]
    parts += [
        Part(side, "seam", 0.009) for side in both(arc((0.5 + w + 0.02, 0.17), (0.48 + w, 0.26), (0.5 + w, 0.35)))
    ]
    folds = [
        *both(line((0.5 + w - 0.02, 0.4), (0.57, 0.54))),
        *both(line((0.5 + out - 0.07, 0.45), (0.5 + out - 0.06, wrist - 0.1))),
        *both(line((0.6, 0.62), (0.63, hem - 0.06))),
    ]
    return Garment(tuple(parts), tuple(folds))


def dress(cut: Cut) -> Garment:
    """A narrow waist with a belt over a wide swinging skirt; with straps or with cap sleeves."""
    waist, hem = 0.115 + 0.012 * cut.width, 0.93 + 0.03 * cut.length
    wide, at = 0.345 + 0.05 * cut.flare, 0.4
    if cut.variant < 0.5:
        top = [(0.07, 0.06, 0.2), (0.12, 0.06, 0.2), (0.135, 0.19, 0.6), (0.17, 0.24, 0.3)]
    else:
        top = [(0.08, 0.07, 0.2), (0.15, 0.09, 0.5), (0.265, 0.2, 0.4), (0.205, 0.27, 0.3), (0.155, 0.235, 0.3)]
    skirt = [(waist, at, 0.35), (wide * 0.72, 0.66, 0.8), (wide, hem - 0.02, 0.2), (wide * 0.5, hem + 0.025, 0.7)]
    body = mirrored([(0, 0.24, 0.9), *top, *skirt, (0, hem + 0.01, 0.7)])
    belt = box(0.5 - waist - 0.008, at - 0.025, 0.5 + waist + 0.008, at + 0.025)
    parts = [Part(body), Part(belt, "deep", 0.01)]
    for reach in (0.25, 0.65):
        parts += [
            Part(side, "seam", 0.008)
            for side in both(
                arc(
                    (0.5 + waist * reach, at + 0.03), (0.5 + wide * 0.4 * reach, 0.65), (0.5 + wide * reach, hem - 0.12)
                )
            )
        ]
    reaches = (-0.8, -0.45, -0.1, 0.2, 0.5, 0.82)
    folds = [line((0.5 + waist * r * 0.9, at + 0.06), (0.5 + wide * r, hem - 0.03)) for r in reaches]
    return Garment(tuple(parts), tuple(folds))


def coat(cut: Cut) -> Garment:
    """Long, with wide lapels, a belt, two rows of buttons, pocket flaps and long sleeves."""
    w, hem = 0.215 + 0.015 * cut.width, 0.955 + 0.02 * cut.length
    wrist, out, wide = 0.64 + 0.03 * cut.sleeve, 0.42 + 0.015 * cut.sleeve, 0.29 + 0.025 * cut.flare
    body = mirrored(
        [
            (0, 0.07, 1),
            (0.1, 0.045, 0.3),
            (w + 0.05, 0.105, 0.6),
            (out - 0.03, 0.36, 0.8),
            (out, wrist, 0.15),
            (out - 0.125, wrist + 0.025, 0.15),
            (w + 0.035, 0.42, 0.6),
            (w, 0.29, 0.3),
            (w - 0.035, 0.47, 0.6),
            (wide, hem, 0.12),
            (0, hem + 0.01, 1),
        ]
    )
    cuff = rounded(
        [
            (0.5 + out - 0.01, wrist - 0.08, 0),
            (0.5 + out + 0.006, wrist, 0.2),
            (0.5 + out - 0.13, wrist + 0.025, 0.2),
            (0.5 + out - 0.135, wrist - 0.055, 0),
        ]
    )
    inside = rounded([(0.41, 0.04, 0), (0.5, 0.065, 1), (0.59, 0.04, 0), (0.5, 0.33, 0)])
    lapel = rounded(
        [
            (0.575, 0.025, 0.3),
            (0.665, 0.1, 0.1),
            (0.645, 0.15, 0.1),
            (0.69, 0.165, 0.1),
            (0.65, 0.27, 0.5),
            (0.505, 0.42, 0),
            (0.51, 0.33, 0.3),
            (0.59, 0.13, 0.4),
        ]
    )
    flap = rounded([(0.56, 0.61, 0.1), (0.675, 0.595, 0.1), (0.685, 0.64, 0.2), (0.565, 0.655, 0.2)])
    parts = [Part(body), *(Part(side, "deep") for side in both(cuff)), Part(inside, "inside")]
    parts += [Part(line((0.515, 0.38), (0.515, hem + 0.005)), "seam", 0.016)]
    parts += [Part(side, "pale") for side in both(lapel)] + [Part(side, "deep", 0.01) for side in both(flap)]
    parts += [
        Part(box(0.5 - w + 0.03, 0.48, 0.5 + w - 0.03, 0.535), "deep", 0.012),
        Part(box(0.465, 0.468, 0.535, 0.547), "metal", 0.01),
    ]
    parts += [Part(disc(x, y, 0.019), "button", 0.005) for y in (0.44, 0.6, 0.72) for x in (0.455, 0.55)]
    folds = [
        *both(line((0.5 + out - 0.08, 0.36), (0.5 + out - 0.07, wrist - 0.1))),
        *both(line((0.58, 0.7), (0.62, hem - 0.03))),
        *both(line((0.65, 0.68), (0.72, hem - 0.03))),
    ]
    return Garment(tuple(parts), tuple(folds))
