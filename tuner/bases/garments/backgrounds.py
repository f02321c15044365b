"""What lies behind a garment. Knows no garment.

A background has a few variants, chosen by the seed, so that it can be painted once and kept.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from tuner.bases.garments.palette import RGB, mix

VARIANTS = 6
"""How many pictures there are of each background."""

Paint = Callable[[Image.Image, np.random.Generator], Image.Image]


def _noise(image: Image.Image, rng: np.random.Generator, strength: float, grain: tuple[int, int]) -> Image.Image:
    """The image made lighter and darker by a grid of chance values, the same at every size."""
    grid = rng.integers(0, 256, grain[::-1], dtype=np.uint8)
    field = np.asarray(Image.fromarray(grid).resize(image.size, Image.Resampling.BILINEAR), dtype=np.float32)
    shaded = np.asarray(image, dtype=np.float32) * (1 + strength * (field[..., None] / 127.5 - 1))
    return Image.fromarray(np.clip(shaded, 0, 255).astype(np.uint8))


def _studio(centre: RGB, corner: RGB) -> Paint:
    """A plain backdrop, a little darker where the light does not reach."""

    def paint(image: Image.Image, rng: np.random.Generator) -> Image.Image:
        size = image.width
        x0, y0 = rng.uniform(0.3, 0.6, 2).tolist()
        at = (np.arange(size) + 0.5) / size
        far = np.clip(((at[None, :] - x0) ** 2 + (at[:, None] - y0) ** 2) * 1.6, 0, 1)[..., None]
        return Image.fromarray(np.rint(np.array(centre) * (1 - far) + np.array(corner) * far).astype(np.uint8))

    return paint


def _wood(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Boards of several browns, with their grain."""
    pen, size = ImageDraw.Draw(image), image.width
    wide = 0.2
    start = float(rng.uniform(-0.2, 0))
    for board in range(7):
        left = start + board * wide
        shade = mix((206, 158, 106), (164, 114, 68), float(rng.random()))
        pen.rectangle([left * size, 0, (left + wide) * size, size], fill=shade)
        for _ in range(3):
            x = left + wide * float(rng.uniform(0.15, 0.85))
            pen.line(
                [x * size, 0, (x + 0.02) * size, size], fill=mix(shade, (110, 70, 36), 0.25), width=max(1, size // 90)
            )
        end = float(rng.uniform(0, 1))
        line = max(1, size // 64)
        pen.line([left * size, end * size, (left + wide) * size, end * size], fill=(104, 66, 36), width=line)
        pen.line([left * size, 0, left * size, size], fill=(104, 66, 36), width=line)
    return _noise(image, rng, 0.06, (40, 6))


def _bricks(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Rows of red bricks in pale mortar."""
    pen, size = ImageDraw.Draw(image), image.width
    pen.rectangle([0, 0, size, size], fill=(206, 196, 186))
    wide, high, gap = 0.25, 0.125, 0.017
    for row in range(9):
        for column in range(-1, 5):
            left, top = (column + 0.5 * (row % 2)) * wide, row * high - 0.03
            shade = mix((184, 92, 70), (148, 66, 54), float(rng.random()))
            pen.rectangle(
                [(left + gap) * size, (top + gap) * size, (left + wide) * size, (top + high) * size], fill=shade
            )
    return _noise(image, rng, 0.07, (32, 32))


def _ramp(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Two soft colours that run into each other from top to bottom."""
    pairs = (((255, 226, 190), (190, 206, 244)), ((206, 240, 224), (236, 214, 246)), ((255, 240, 200), (250, 200, 204)))
    top, low = pairs[int(rng.integers(len(pairs)))]
    part = ((np.arange(image.width) + 0.5) / image.width)[:, None, None]
    rows = np.rint(np.array(top) * (1 - part) + np.array(low) * part).astype(np.uint8)
    return Image.fromarray(np.ascontiguousarray(np.broadcast_to(rows, (image.width, image.width, 3))))


def _paper(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Old cream paper with stains."""
    image.paste((240, 226, 192), (0, 0, *image.size))
    return _noise(_noise(image, rng, 0.07, (6, 6)), rng, 0.035, (48, 48))


def _linen(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Light woven linen."""
    image.paste((236, 233, 226), (0, 0, *image.size))
    return _noise(_noise(image, rng, 0.03, (64, 5)), rng, 0.03, (5, 64))


def _concrete(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """A wall of grey concrete slabs with their joints and holes."""
    image.paste((150, 151, 153), (0, 0, *image.size))
    image = _noise(_noise(image, rng, 0.1, (7, 9)), rng, 0.07, (52, 52))
    pen, size = ImageDraw.Draw(image), image.width
    x, y = rng.uniform(0.1, 0.3, 2).tolist()
    joint = max(1, size // 80)
    for at in (x, x + 0.62):
        pen.line([at * size, 0, at * size, size], fill=(104, 105, 108), width=joint)
    for at in (y, y + 0.58):
        pen.line([0, at * size, size, at * size], fill=(104, 105, 108), width=joint)
    for across in (x + 0.07, x + 0.55):
        for down in (y + 0.07, y + 0.51):
            reach = 0.014 * size
            pen.ellipse(
                [across * size - reach, down * size - reach, across * size + reach, down * size + reach],
                fill=(92, 93, 96),
            )
    return image


def _bokeh(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Pale pink with soft discs of light."""
    size = image.width
    image.paste((250, 218, 228), (0, 0, *image.size))
    for x, y, radius, warm in rng.random((16, 4)).tolist():
        reach = (0.05 + 0.08 * radius) * size
        light = Image.new("L", image.size, 0)
        where = [x * size - reach, y * size - reach, x * size + reach, y * size + reach]
        ImageDraw.Draw(light).ellipse(where, fill=120)
        image.paste(mix((255, 246, 250), (255, 232, 206), warm), mask=light)
    return image.filter(ImageFilter.GaussianBlur(0.014 * size))


PAINTS: dict[str, Paint] = {
    "plain white": _studio((253, 253, 253), (236, 237, 240)),
    "cream": _studio((250, 240, 214), (234, 218, 184)),
    "pale grey": _studio((212, 214, 218), (180, 183, 189)),
    "dark studio": _studio((78, 80, 90), (34, 35, 42)),
    "pale blue": _studio((204, 226, 246), (170, 200, 230)),
    "pale pink": _studio((252, 220, 226), (240, 192, 204)),
    "wooden floor": _wood,
    "brick wall": _bricks,
    "soft gradient": _ramp,
    "cream paper": _paper,
    "light linen": _linen,
    "concrete wall": _concrete,
    "pink bokeh": _bokeh,
}


@lru_cache(maxsize=256)
def _painted(name: str, size: int, variant: int) -> NDArray[np.float32]:
    """One variant; at twice the size, then made smaller, so that its lines are smooth."""
    image = PAINTS[name](
        Image.new("RGB", (size * 2, size * 2)), np.random.default_rng([variant, list(PAINTS).index(name)])
    )
    picture = np.asarray(image.reduce(2), dtype=np.float32)
    picture.flags.writeable = False
    return picture


def background(name: str, size: int, seed: int) -> NDArray[np.float32]:
    """The background (size, size, 3), 0 to 255; read-only, because it is kept for the next picture."""
    return _painted(name, size, seed % VARIANTS)


@lru_cache(maxsize=64)
def mean_rgb(name: str) -> RGB:
    """The mean colour of a background over its variants."""
    red, green, blue = np.mean([_painted(name, 32, v).mean(axis=(0, 1)) for v in range(VARIANTS)], axis=0).tolist()
    return round(red), round(green), round(blue)
