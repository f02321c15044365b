"""Pictures for people: as large as a cell allows, and as files."""

from __future__ import annotations

import io

from PIL import Image


def fitted(image: Image.Image, side: int) -> Image.Image:
    """The picture with its longer side at most `side` pixels: small ones are enlarged by a whole factor, so that their
    pixels stay as they are, large ones made smaller."""
    factor = side // max(image.size)
    if factor >= 1:
        return image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)
    smaller = image.copy()
    smaller.thumbnail((side, side), Image.Resampling.LANCZOS)
    return smaller


def png(image: Image.Image) -> bytes:
    """The picture as a PNG file: nothing of it is lost."""
    held = io.BytesIO()
    image.save(held, format="PNG")
    return held.getvalue()
