"""Paints a look: the cloth, the garment's parts on it, light and folds, its shadow, what is behind, the style's finish.

The garment is painted larger than asked and made smaller, so that edges are smooth; light is added at the final size.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from tuner.bases.garments.backgrounds import background
from tuner.bases.garments.brush import Brush, pixels
from tuner.bases.garments.finishes import FINISHES, HARDNESS
from tuner.bases.garments.look import Look
from tuner.bases.garments.outline import Garment
from tuner.bases.garments.palette import RGB, deep, distance, lightness, mix, pale
from tuner.bases.garments.shapes import placed
from tuner.bases.garments.style_surfaces import STYLE_SURFACES, TRIMS
from tuner.bases.garments.surfaces import SURFACES

SMALLEST, LARGEST = 32, 1024

Layer = NDArray[np.float32]


@lru_cache(maxsize=256)
def tones(main: RGB) -> dict[str, RGB]:
    """The colours of the parts of a garment whose cloth has this colour. Every one can be told from the cloth."""
    light = lightness(main)
    dark, bright = light < 62, light > 205
    gold: RGB = (232, 190, 80)
    return {
        "deep": pale(main, 0.16) if dark else deep(main, 0.14 if bright else 0.26),
        "pale": pale(main, 0.2) if dark else (deep(main, 0.05) if bright else pale(main, 0.22)),
        "inside": mix(main, (10, 10, 14), 0.62 if not bright else 0.42),
        "metal": gold if distance(gold, main) > 190 else (120, 92, 40),
        "button": pale(main, 0.72) if light < 140 else deep(main, 0.62),
        "sole": (168, 168, 170) if dark else (240, 236, 228) if light < 190 else (206, 186, 160),
        "heel": mix(main, (24, 18, 16), 0.72) if not dark else (104, 92, 84),
        "lace": (248, 246, 240) if light < 190 else deep(main, 0.55),
        "ribbon": pale(main, 0.32) if dark else deep(main, 0.5),
        "seam": pale(main, 0.26) if dark else deep(main, 0.34 if bright else 0.4),
        "edge": mix(main, (0, 0, 0), 0.6) if dark else deep(main, 0.46 if bright else 0.52),
    }


def _cloth(look: Look, canvas: int, tilt: float) -> Image.Image:
    """The patterned surface, over the whole canvas."""
    rng = np.random.default_rng([look.seed, 1])
    origin = tuple(rng.uniform(-0.06, 0.06, 2).tolist())
    image = Image.new("RGB", (canvas, canvas), look.main_rgb)
    brush = Brush(image, look.main_rgb, look.accent_rgb, rng, tilt, (origin[0], origin[1]))
    (SURFACES if look.style is None else STYLE_SURFACES)[look.pattern](brush)
    return image


def _assemble(look: Look, garment: Garment, cloth: Image.Image) -> tuple[Image.Image, Image.Image]:
    """The parts painted over each other, and where any of them is (L, 255 inside)."""
    canvas = cloth.width
    image, mask = cloth.copy(), Image.new("L", cloth.size, 0)
    pen, cover = ImageDraw.Draw(image), ImageDraw.Draw(mask)
    shades = tones(look.main_rgb)
    trim = TRIMS.get(look.style) if look.style else None
    for number, part in enumerate(garment.parts):
        flat, width = pixels(part.points, canvas), max(1, round(part.width * canvas))
        if part.tone in ("seam", "lace"):
            pen.line(flat, fill=shades[part.tone], width=width)
            continue
        if part.tone == "cloth":
            if number:
                here = Image.new("L", cloth.size, 0)
                ImageDraw.Draw(here).polygon(flat, fill=255)
                image.paste(cloth, mask=here)
        else:
            pen.polygon(flat, fill=shades[part.tone])
        cover.polygon(flat, fill=255)
        ring = [*flat, *flat[:4]]
        if trim is not None and part.tone == "cloth":
            trim(pen, cover, part.points, look.main_rgb)
        pen.line(ring, fill=shades["edge"], width=width)
        cover.line(ring, fill=255, width=width)
    return image, mask


def _relief(garment: Garment, mask: Layer, size: int, seed: int) -> Layer:
    """How much light falls on each pixel, about -1 to 1: folds, and roundness under a light from the upper left."""
    canvas = size * 2
    lines = Image.new("L", (canvas, canvas), 128)
    pen, width = ImageDraw.Draw(lines), max(2, round(0.032 * canvas))
    strengths = np.random.default_rng([seed, 2]).uniform(0.5, 1.0, len(garment.folds)).tolist()
    for fold, strength in zip(garment.folds, strengths, strict=True):
        pen.line(pixels(fold - np.array([0.02, 0.0]), canvas), fill=round(128 + 90 * strength), width=width)
        pen.line(pixels(fold + np.array([0.012, 0.0]), canvas), fill=round(128 - 118 * strength), width=width)
    soft = ImageFilter.GaussianBlur(0.016 * size)
    folds = np.asarray(lines.reduce(2).filter(soft), dtype=np.float32) / 128 - 1
    step = max(1, round(0.022 * size))
    height = np.asarray(Image.fromarray((mask * 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(0.035 * size)))
    padded = np.pad(height.astype(np.float32) / 255, step)
    slope = padded[2 * step :, 2 * step :] - padded[: -2 * step, : -2 * step]
    fall = np.linspace(0.12, -0.16, size, dtype=np.float32)[:, None]
    return np.asarray(0.55 * folds + 0.75 * slope + fall, dtype=np.float32)


def _shadow(mask: Layer, size: int, stands: bool) -> Layer:
    """Where the garment keeps the light off what is behind it, 0 to 1."""
    soft = Image.fromarray((mask * 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(0.025 * size))
    right, down = round(0.022 * size), round(0.03 * size)
    thrown = np.zeros((size, size), dtype=np.float32)
    thrown[down:, right:] = np.asarray(soft, dtype=np.float32)[: size - down, : size - right] / 255 * 0.36
    rows = np.flatnonzero(mask.max(axis=1) > 0.5)
    if stands and rows.size:
        columns = np.flatnonzero(mask.max(axis=0) > 0.5)
        left, right_end, low = columns[0] / size, columns[-1] / size, rows[-1] / size
        at = (np.arange(size, dtype=np.float32) + 0.5) / size
        across = (at[None, :] - (left + right_end) / 2) / ((right_end - left) * 0.58)
        along = (at[:, None] - low) / 0.07
        thrown = np.maximum(thrown, 0.42 * np.clip(1.15 - across**2 - along**2, 0, 1))
    return thrown


def _checked(size: int) -> None:
    if not SMALLEST <= size <= LARGEST:
        raise ValueError(f"size = {size}: must be {SMALLEST} to {LARGEST} pixels")


def cutout(look: Look, size: int = 64) -> tuple[Layer, Layer, bool]:
    """The lit garment alone: (size, size, 3), 0 to 255; where it is, (size, size), 0 to 1; whether it stands."""
    _checked(size)
    factor = 4 if size <= 128 else 2
    garment, tilt = placed(look)
    image, cover = _assemble(look, garment, _cloth(look, size * factor, tilt))
    rgb = np.asarray(image.reduce(factor), dtype=np.float32)
    mask: Layer = np.asarray(cover.reduce(factor), dtype=np.float32) / np.float32(255)
    relief = (_relief(garment, mask, size, look.seed) * HARDNESS[look.style])[..., None]
    # Dark cloth shows its folds by what shines on it, pale cloth by what is in shadow.
    lit = rgb * (1 + 0.3 * np.minimum(relief, 0) + 0.12 * np.maximum(relief, 0)) + 34 * np.maximum(relief, 0)
    return np.clip(lit, 0, 255).astype(np.float32), mask, garment.stands


def draw(look: Look, size: int = 64) -> NDArray[np.uint8]:
    """The picture, (size, size, 3). Raises `ValueError` unless size is 32 to 1024."""
    rgb, mask, stands = cutout(look, size)
    behind = background(look.background, size, look.seed)
    shade = np.minimum(_shadow(mask, size, stands) * HARDNESS[look.style], 0.7)[..., None]
    cover = mask[..., None]
    picture = behind * (1 - shade) * (1 - cover) + rgb * cover
    finish = FINISHES.get(look.style)
    if finish is not None:
        picture = finish(picture)
    return np.asarray(np.clip(np.rint(picture), 0, 255), dtype=np.uint8)
