"""Paints in units of the picture on a canvas of any size. Knows no pattern.

Points become whole pixels of the canvas before they are painted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from tuner.bases.garments.outline import Points
from tuner.bases.garments.palette import RGB


def pixels(points: Points, canvas: int) -> list[int]:
    """The points as whole pixels, x and y in turn."""
    flat: list[int] = np.rint(points * canvas).astype(int).ravel().tolist()
    return flat


@dataclass
class Brush:
    """A brush on an RGB image: what it paints is turned by `tilt` (radians) about the middle, then shifted by `origin`.

    `main` and `accent` are the colours of the cloth; `rng` is the only source of chance for what is painted.
    """

    image: Image.Image
    main: RGB
    accent: RGB
    rng: np.random.Generator
    tilt: float = 0.0
    origin: tuple[float, float] = (0.0, 0.0)

    def __post_init__(self) -> None:
        self.pen = ImageDraw.Draw(self.image)
        self.canvas = self.image.width
        self.tilt_more(0.0)

    def tilt_more(self, angle: float) -> None:
        """Turn all that is painted from now on by `angle` (radians) more."""
        self.tilt += angle
        self._cos, self._sin = float(np.cos(self.tilt)), float(np.sin(self.tilt))

    def at(self, x: float, y: float) -> tuple[int, int]:
        """The pixel of a point."""
        x, y = x - 0.5, y - 0.5
        right = (x * self._cos - y * self._sin + 0.5 + self.origin[0]) * self.canvas
        down = (x * self._sin + y * self._cos + 0.5 + self.origin[1]) * self.canvas
        return round(right), round(down)

    def sees(self, x: float, y: float, reach: float) -> bool:
        """Whether something at a point that extends by `reach` can be on the canvas."""
        x, y = x - 0.5, y - 0.5
        right = x * self._cos - y * self._sin + 0.5 + self.origin[0]
        down = x * self._sin + y * self._cos + 0.5 + self.origin[1]
        return -reach <= right <= 1 + reach and -reach <= down <= 1 + reach

    def shape(self, points: Sequence[tuple[float, float]], colour: RGB) -> None:
        """A filled polygon."""
        self.pen.polygon([self.at(x, y) for x, y in points], fill=colour)

    def box(self, left: float, top: float, right: float, bottom: float, colour: RGB) -> None:
        """A filled rectangle."""
        self.shape([(left, top), (right, top), (right, bottom), (left, bottom)], colour)

    def dot(self, x: float, y: float, radius: float, colour: RGB) -> None:
        """A filled circle."""
        across, down = self.at(x, y)
        reach = max(1, round(radius * self.canvas))
        self.pen.ellipse([across - reach, down - reach, across + reach, down + reach], fill=colour)

    def stroke(self, points: Sequence[tuple[float, float]], width: float, colour: RGB) -> None:
        """A line of a width."""
        self.pen.line([self.at(x, y) for x, y in points], fill=colour, width=max(1, round(width * self.canvas)))
