"""Captioned pictures of one size as rows of a fashion study, and those that are drawn in one style.

A row holds its picture, encoded, so that no other machine needs its file. Imports no torch, and knows no model.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tuner.bases.garments.captions import FORMS, caption
from tuner.bases.garments.draw import draw
from tuner.bases.garments.look import GARMENTS, Look
from tuner.bases.garments.sample import styled
from tuner.data.image_shown import png

COUNTS: Mapping[str, int] = {"train": 96, "validation": 20, "test": 40}
"""How many rows are drawn of each split."""
REPEATS = 5
"""How often an embedded study meets each training picture in an epoch, in other words each time: a style has few
pictures, and a report after so few would cost more than the training between two."""
_NEXT = 3  # wordings from one repeat to the next
_SEEDS = {"train": 100, "validation": 101, "test": 102}


@dataclass(frozen=True)
class PictureRow:
    """One picture, encoded as PNG. `name` tells it apart from the others of its split, `label` is its class where it
    has one, `repeats` how often a split of training rows holds it."""

    name: str
    caption: str
    png: bytes = field(repr=False)
    label: str | None = None
    repeats: int = 1

    def pixels(self) -> NDArray[np.uint8]:
        """The picture (S, S, 3)."""
        with Image.open(io.BytesIO(self.png), formats=("PNG",)) as image:
            return np.array(image, dtype=np.uint8)


@dataclass(frozen=True)
class FashionData:
    """The three splits, all pictures `resolution` pixels wide and high. A row of `train` stands there `repeats` times
    already; those of the other splits stand there once."""

    train: tuple[PictureRow, ...]
    validation: tuple[PictureRow, ...]
    test: tuple[PictureRow, ...]
    resolution: int

    def named(self) -> dict[str, tuple[PictureRow, ...]]:
        """The splits by name, train first."""
        return {"train": self.train, "validation": self.validation, "test": self.test}


def encoded(pixels: NDArray[np.uint8]) -> bytes:
    """A picture (H, W, 3) as the bytes of a PNG: nothing of it is lost."""
    return png(Image.fromarray(pixels))


def embedded_rows(style: str, counts: Mapping[str, int], resolution: int, repeats: int = 1) -> FashionData:
    """Rows of a style, as many as `counts` says by split (as `COUNTS` says of a split it leaves out); fewer are the
    first of more.

    `resolution` is the side in pixels. In validation and test every garment comes in turn, and captions have the
    plainest wording; in train garments come by chance, and wordings in turn, `repeats` of them for each picture. Raises
    `ValueError` for an unknown style or a side that cannot be drawn.
    """
    splits = {}
    for split, seed in _SEEDS.items():
        count, train = counts.get(split, COUNTS[split]), split == "train"
        splits[split] = tuple(
            PictureRow(
                name=f"{split}_{number:03}",
                caption=caption(look, (number + _NEXT * again) % FORMS if train else 0),
                png=picture,
                label=look.garment,
                repeats=repeats if train else 1,
            )
            for number, look, picture in _pictures(style, seed, count, resolution, in_turn=not train)
            for again in range(repeats if train else 1)
        )
    return FashionData(**splits, resolution=resolution)


def _pictures(
    style: str, seed: int, count: int, resolution: int, *, in_turn: bool
) -> Iterator[tuple[int, Look, bytes]]:
    looks = _in_turn(style, seed, count) if in_turn else styled(style, seed, count)
    for number, look in enumerate(looks):
        yield number, look, encoded(draw(look, resolution))


def _in_turn(style: str, seed: int, count: int) -> list[Look]:
    """The first looks that show each garment in its turn."""
    drawn = 4 * (count + len(GARMENTS))
    while True:
        looks = styled(style, seed, drawn)
        shown = [[look for look in looks if look.garment == garment] for garment in GARMENTS]
        if min(map(len, shown)) * len(GARMENTS) >= count:
            return [shown[number % len(GARMENTS)][number // len(GARMENTS)] for number in range(count)]
        drawn *= 2
