"""From a look to its garment's parts in their place in the picture: cut, tilt, scale and shift follow from the seed.

Knows no colour. Everything is in units of the picture, y downwards.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tuner.bases.garments import bottoms, tops, wearables
from tuner.bases.garments.look import Look
from tuner.bases.garments.outline import Cut, Garment, Part, Points

CUTS: dict[str, Callable[[Cut], Garment]] = {
    "t-shirt": tops.t_shirt,
    "shirt": tops.shirt,
    "dress": tops.dress,
    "coat": tops.coat,
    "trousers": bottoms.trousers,
    "skirt": bottoms.skirt,
    "shoes": wearables.shoes,
    "boots": wearables.boots,
    "bag": wearables.bag,
    "hat": wearables.hat,
}

TILT = 6.0
"""How far a garment leans at most, in degrees; one that stands leans a third of it."""


FILLS = (0.76, 0.89)
"""Between what parts of the picture a garment's longer side takes up."""


def _turned(points: Points, tilt: float, flipped: bool) -> Points:
    """The points mirrored or not, then turned by `tilt` (radians) about the origin."""
    x, y = (-points[:, 0] if flipped else points[:, 0]), points[:, 1]
    cos, sin = float(np.cos(tilt)), float(np.sin(tilt))
    return np.stack([x * cos - y * sin, x * sin + y * cos], axis=1)


def placed(look: Look) -> tuple[Garment, float]:
    """The garment with its parts where the picture shows them, all of them in the picture; its tilt in radians."""
    rng = np.random.default_rng([look.seed, 0])
    width, length, sleeve, flare, lean, right, down = rng.uniform(-1, 1, 7).tolist()
    variant, size, flip = rng.random(3).tolist()
    garment = CUTS[look.garment](Cut(width, length, sleeve, flare, variant))
    tilt = float(np.radians(lean * (TILT / 3 if garment.stands else TILT)))
    points = _turned(np.concatenate([*(part.points for part in garment.parts), *garment.folds]), tilt, flip < 0.5)
    low, high = points.min(axis=0), points.max(axis=0)
    scale = (FILLS[0] + (FILLS[1] - FILLS[0]) * size) / float((high - low).max())
    spare = (0.94 - (high - low) * scale) / 2
    moved = np.clip(np.array([right, down]) * 0.05, -spare, spare)
    points, at = (points - (low + high) / 2) * scale + 0.5 + moved, 0
    parts, folds = [], []
    for part in garment.parts:
        parts.append(Part(points[at : at + len(part.points)], part.tone, part.width * scale))
        at += len(part.points)
    for fold in garment.folds:
        folds.append(points[at : at + len(fold)])
        at += len(fold)
    return Garment(tuple(parts), tuple(folds), garment.stands), tilt
