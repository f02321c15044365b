"""Files for drawn pictures: which names they may have, and how they are written. The name's ending says the format.

Knows nothing of who draws.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuner.errors import Problem, StoreError
from tuner.store.files import write_bytes

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Pillow's name of each format, and how it is saved: JPEG without visible loss, colours as fine as brightness.
FORMATS: dict[str, tuple[str, dict[str, Any]]] = {
    ".png": ("PNG", {}),
    ".jpg": ("JPEG", {"quality": 95, "subsampling": 0}),
    ".jpeg": ("JPEG", {"quality": 95, "subsampling": 0}),
}


def problems_of(out: Path) -> list[Problem]:
    """What is wrong with a name for a picture."""
    if out.suffix.lower() not in FORMATS:
        rule = f"a picture's name ends in {', '.join(FORMATS)}"
        return [Problem("out", str(out), rule, f"Try {out.with_suffix('.png') if out.name else 'picture.png'}.")]
    if out.is_dir():
        return [Problem("out", str(out), "this is a folder", f"Name a file in it, as {out / 'picture.png'}.")]
    return []


def places(out: Path, count: int) -> list[Path]:
    """Where so many pictures go: one to `out`, several to out-1, out-2 and so on, with its ending."""
    if count == 1:
        return [out]
    return [out.with_name(f"{out.stem}-{number}{out.suffix}") for number in range(1, count + 1)]


def save(path: Path, pixels: NDArray[np.uint8]) -> None:
    """Write a picture (H, W, 3) in one step, over what stands there; makes its folder. Raises StoreError when the disk
    refuses."""
    from PIL import Image

    name, options = FORMATS[path.suffix.lower()]
    held = io.BytesIO()
    Image.fromarray(pixels).save(held, name, **options)
    try:
        write_bytes(path, held.getvalue())
    except StoreError as error:
        cause = error.__cause__
        reason = cause.strerror if isinstance(cause, OSError) else None
        raise StoreError(f"cannot write {path}: {reason or error}. Free space or choose another --out.") from error
