"""Colours by name, and what follows from a colour: its shades, and how far it is from another.

Knows nothing of garments. A colour is (red, green, blue), 0 to 255.
"""

from __future__ import annotations

RGB = tuple[int, int, int]

COLOURS: dict[str, RGB] = {
    "red": (208, 32, 40),
    "orange": (244, 124, 24),
    "yellow": (248, 210, 44),
    "green": (44, 146, 62),
    "teal": (20, 152, 154),
    "blue": (44, 104, 224),
    "navy": (28, 38, 100),
    "purple": (126, 58, 172),
    "pink": (247, 142, 184),
    "brown": (124, 78, 44),
    "black": (36, 36, 40),
    "white": (246, 246, 244),
    "grey": (140, 143, 148),
}


def mix(one: RGB, other: RGB, part: float) -> RGB:
    """`one` with `part` (0 to 1) of it replaced by `other`."""
    red, green, blue = (round(a + (b - a) * part) for a, b in zip(one, other, strict=True))
    return red, green, blue


def lightness(rgb: RGB) -> float:
    """How bright a colour looks, 0 to 255."""
    return 0.299 * rgb[0] + 0.587 * rgb[1] + 0.114 * rgb[2]


def deep(rgb: RGB, part: float = 0.3) -> RGB:
    """A darker shade of the same colour."""
    return mix(rgb, (10, 8, 16), part)


def pale(rgb: RGB, part: float = 0.3) -> RGB:
    """A lighter shade of the same colour."""
    return mix(rgb, (255, 255, 255), part)


def distance(one: RGB, other: RGB) -> float:
    """How different two colours look, 0 to about 765: the "redmean" distance, which weights channels as eyes do."""
    red = (one[0] + other[0]) / 2
    dr, dg, db = (a - b for a, b in zip(one, other, strict=True))
    return float(((2 + red / 256) * dr * dr + 4 * dg * dg + (2 + (255 - red) / 256) * db * db) ** 0.5)
