"""Trousers and skirt, each as parts in the unit square. Knows no colour and no pose."""

from __future__ import annotations

from tuner.bases.garments.outline import Cut, Garment, Part, arc, both, box, disc, line, mirrored, rounded


def trousers(cut: Cut) -> Garment:
    """Two legs, a waistband with a button, slanted pockets."""
    hip, hem = 0.215 + 0.015 * cut.width, 0.935 + 0.03 * cut.length
    cuff, gap = 0.235 + 0.035 * cut.flare, 0.06 + 0.01 * cut.width
    body = mirrored(
        [
            (0, 0.06, 0),
            (0.165, 0.055, 0.1),
            (hip, 0.26, 0.7),
            (hip, 0.5, 0.9),
            (cuff, hem, 0.1),
            (gap, hem + 0.008, 0.1),
            (0.035, 0.5, 0.5),
            (0, 0.37, 0.25),
        ]
    )
    parts = [Part(body)]
    parts += [
        Part(rounded([(0.333, 0.05, 0.1), (0.667, 0.05, 0.1), (0.678, 0.115, 0), (0.322, 0.115, 0)]), "deep", 0.011)
    ]
    parts += [Part(disc(0.5, 0.083, 0.018), "button", 0.005)]
    parts += [Part(arc((0.5, 0.12), (0.505, 0.25), (0.5, 0.37)), "seam", 0.013)]
    parts += [Part(arc((0.5, 0.33), (0.45, 0.33), (0.45, 0.12)), "seam", 0.008)]
    parts += [Part(side, "seam", 0.013) for side in both(arc((0.615, 0.12), (0.63, 0.2), (0.703, 0.22)))]
    parts += [Part(side, "seam", 0.009) for side in both(line((0.5 + gap, hem - 0.04), (0.5 + cuff, hem - 0.045)))]
    folds = [
        *both(line((0.5 + hip * 0.6, 0.28), (0.5 + (gap + cuff) / 2, hem - 0.05))),
        *both(line((0.53, 0.38), (0.62, 0.42))),
        *both(line((0.57, 0.62), (0.66, 0.6))),
    ]
    return Garment(tuple(parts), tuple(folds))


def skirt(cut: Cut) -> Garment:
    """A waistband over cloth that widens in pleats."""
    waist, hem = 0.15 + 0.015 * cut.width, 0.82 + 0.06 * cut.length
    wide = 0.375 + 0.05 * cut.flare
    body = mirrored(
        [
            (0, 0.17, 0),
            (waist, 0.165, 0.1),
            (waist + (wide - waist) * 0.62, 0.42, 0.7),
            (wide, hem - 0.03, 0.15),
            (wide * 0.55, hem + 0.035, 0.7),
            (0, hem + 0.03, 0.7),
        ]
    )
    band = box(0.5 - waist - 0.008, 0.155, 0.5 + waist + 0.008, 0.235)
    parts = [Part(body), Part(band, "deep", 0.012)]
    for reach in (0.16, 0.5, 0.82):
        curve = arc(
            (0.5 + waist * reach, 0.24),
            (0.5 + (waist + wide) * 0.47 * reach, 0.45),
            (0.5 + wide * reach * 0.96, hem - 0.02),
        )
        parts += [Part(side, "seam", 0.01) for side in both(curve)]
    reaches = (-0.66, -0.33, 0.02, 0.33, 0.66, 0.92)
    folds = [line((0.5 + waist * r, 0.26), (0.5 + wide * r, hem - 0.01)) for r in reaches]
    return Garment(tuple(parts), tuple(folds))
