"""Pictures for people: as large as a cell allows, and as files."""

from __future__ import annotations

import io
from collections.abc import Mapping

from PIL import Image
from PIL.PngImagePlugin import PngInfo


def fitted(image: Image.Image, side: int) -> Image.Image:
    """The picture with its longer side at most `side` pixels: small ones are enlarged by a whole factor, so that their
    pixels stay as they are, large ones made smaller."""
    factor = side // max(image.size)
    if factor >= 1:
        return image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)
    smaller = image.copy()
    smaller.thumbnail((side, side), Image.Resampling.LANCZOS)
    return smaller


def png(image: Image.Image, told: Mapping[str, str] | None = None) -> bytes:
    """The picture as a PNG file: nothing of it is lost. What is `told` of it stands in the file as text."""
    held, texts = io.BytesIO(), PngInfo()
    for name, text in (told or {}).items():
        texts.add_text(name, text)
    image.save(held, format="PNG", pnginfo=texts)
    return held.getvalue()
