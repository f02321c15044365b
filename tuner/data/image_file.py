"""One picture file as upright 8-bit RGB on white, or the rule that it breaks; what decodes is decoded in full.

Limits are held by the header before a pixel is decoded. Knows nothing of captions, folders or other pictures.
"""

from __future__ import annotations

import hashlib
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tuner.errors import DataError, Problem

MAX_BYTES = 64 * 1_048_576
MAX_PIXELS = 64_000_000
MIN_SIDE = 32
MAX_ASPECT = 4.0
# Pictures as far as people go, but not read.
_FOREIGN = frozenset((".heic", ".heif", ".avif", ".svg", ".psd", ".jp2", ".jxl", ".cr2", ".nef", ".dng", ".tga"))
EXTENSIONS = _FOREIGN | {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"}
# What is read whatever the extension says. Fewer decoders are fewer places where a file can do harm.
_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
_GRAY = frozenset(("1", "L", "LA", "La", "I", "I;16", "I;16L", "I;16B", "I;16N"))
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ORIENTATION = 0x0112


@dataclass(frozen=True)
class Picture:
    """A picture of mode RGB. `changes` say what was done to it and what is odd about it: "deep" (16 bits scaled to 8),
    "cmyk", "alpha" (laid on white), "gray", "turned" (by its EXIF), "long" (one side over `MAX_ASPECT` times the
    other)."""

    image: Image.Image
    changes: frozenset[str]


@dataclass(frozen=True)
class Refusal:
    """Why a file is not used. `rule` is a key of `image_findings.RULES`, `said` a sentence about this file."""

    rule: str
    said: str
    cure: str


def read_picture(path: Path) -> Picture | Refusal:
    """The decoded picture. Raises nothing for a bad file."""
    try:
        if not path.is_file():
            what = "it is not a regular file" if path.exists() else "there is no such file"
            return Refusal("unreadable", what, "Check its name.")
        size = path.stat().st_size
        if size > MAX_BYTES:
            said = f"it has {size:,} bytes, and a picture may have {MAX_BYTES:,}"
            return Refusal("too_many_bytes", said, "Save it smaller.")
        with path.open("rb") as file, warnings.catch_warnings():
            # Pillow warns of large sizes and of broken EXIF; the first is judged here, the second does no harm.
            warnings.simplefilter("ignore")
            try:
                image = Image.open(file, formats=_FORMATS)
            except Image.DecompressionBombError:
                return _too_large("far more pixels")
            except Exception:  # Pillow and its decoders fail in too many ways to list
                return _not_a_picture(path, size)
            return _judged(image) or _decoded(image)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        return Refusal("unreadable", f"it cannot be opened: {reason}", "Check its permissions.")


def load_picture(path: Path, size: int, name: str = "data.source") -> NDArray[np.uint8]:
    """The middle square of a picture as (`size`, `size`, 3), resized with antialiasing, for training.

    `name` is the config path for messages. Raises DataError under the rules of `read_picture`.
    """
    picture = read_picture(path)
    if isinstance(picture, Refusal):
        raise DataError(Problem(name, str(path), picture.said, picture.cure))
    width, height = picture.image.size
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    # As resizing all and cutting then, but a very long picture is never enlarged as a whole.
    box = (left, top, left + side, top + side)
    return np.array(picture.image.resize((size, size), Image.Resampling.LANCZOS, box=box), dtype=np.uint8)


def pixel_hash(image: Image.Image) -> str:
    """SHA-256 in 64 hex digits over the size and all pixels of an RGB picture: equal pictures in whatever file."""
    digest = hashlib.sha256(f"{image.width}x{image.height}:".encode())
    digest.update(image.tobytes())
    return digest.hexdigest()


def _judged(image: Image.Image) -> Refusal | None:
    """What the header alone forbids."""
    if image.width * image.height > MAX_PIXELS:
        return _too_large(f"{image.width:,} x {image.height:,} pixels")
    if min(image.size) < MIN_SIDE:
        said = f"it has {image.width} x {image.height} pixels, and each side needs {MIN_SIDE}"
        return Refusal("too_small", said, "Use a larger version of it.")
    try:
        # Phones put a preview or a depth map into a JPEG as a second frame (MPO); the first is the photograph.
        if image.format != "MPO" and getattr(image, "is_animated", False):
            return Refusal("animated", "it has more than one frame", "Save one frame as png or jpg.")
    except Exception:  # looking for a second frame reads on in the file, and meets what is broken there
        return _damaged("its frames cannot be counted")
    return None


def _decoded(image: Image.Image) -> Picture | Refusal:
    try:
        # While a decoder has not run, its tiles still name the layout of the file's own bytes.
        deep = image.mode.startswith("I") or any(";16" in str(tile[3]) for tile in getattr(image, "tile", ()))
        # Pillow itself turns a TIFF while it loads, and forgets that it did; a PNG may say it behind its pixels.
        changes = {"turned"} if image.format == "TIFF" and _orientation(image) in _UPRIGHT else set()
        image.load()
        if deep:
            changes.add("deep")
        if image.mode in _GRAY:
            changes.add("gray")
        if image.mode == "F" or (image.mode == "I" and not _is_16_bit(image)):
            said = "it has more than 16 bits a channel"
            return Refusal("too_deep", said, "Save it with 8 or 16 bits a channel.")
        turned = _UPRIGHT.get(_orientation(image))
        if image.mode.startswith("I"):
            image = _scaled(image)
        if image.mode == "CMYK":
            changes.add("cmyk")
        if image.has_transparency_data:
            changes.add("alpha")
            image = _on_white(image.convert("RGBA"))
        image = image.convert("RGB")
        if turned is not None:
            changes.add("turned")
            image = image.transpose(turned)
    except Exception as error:  # as above
        return _damaged(" ".join(str(error).split())[:120] or type(error).__name__)
    if max(image.size) > MAX_ASPECT * min(image.size):
        changes.add("long")
    return Picture(image, frozenset(changes))


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation of a picture, 1 where EXIF is absent or broken: the pixels are whole all the same."""
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # as above
        return 1
    return value if isinstance(value, int) else 1


def _is_16_bit(image: Image.Image) -> bool:
    values = np.asarray(image)
    return bool(values.min() >= 0 and values.max() <= 65_535)


def _scaled(image: Image.Image) -> Image.Image:
    """0..65535 to 0..255, rounded: 65,535 = 255 * 257. Where a PNG names one gray as transparent, with an alpha."""
    values = np.asarray(image).astype(np.int32)
    clear = image.info.get("transparency")
    # Before the scaling, which gives 257 neighbouring grays one value.
    alpha = np.where(values == clear, 0, 255).astype(np.uint8) if isinstance(clear, int) else None
    values += 128
    values //= 257
    gray = Image.fromarray(values.astype(np.uint8))
    return gray if alpha is None else Image.merge("LA", (gray, Image.fromarray(alpha)))


def _on_white(image: Image.Image) -> Image.Image:
    return Image.alpha_composite(Image.new("RGBA", image.size, (255, 255, 255, 255)), image)


def _too_large(has: str) -> Refusal:
    said = f"it has {has}, and a picture may have {MAX_PIXELS // 1_000_000} megapixels"
    return Refusal("too_many_pixels", said, "Save it smaller.")


def _not_a_picture(path: Path, size: int) -> Refusal:
    cure = "Save it as png or jpg."
    if size and path.suffix.lower() in _FOREIGN:
        return Refusal("foreign", f"{path.suffix} files are not read", cure)
    return Refusal("not_a_picture", "it is not a picture of a format that is read" if size else "it is empty", cure)


def _damaged(why: str) -> Refusal:
    return Refusal("damaged", f"it is cut short or damaged: {why}", "Copy it again from where it came.")
