"""Pictures and folders of pictures for the tests, drawn here: no file of anybody's."""

from __future__ import annotations

import json
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


def drawn(seed: int = 0, width: int = 40, height: int = 48, mode: str = "RGB") -> Image.Image:
    """A picture of noise, another one for each seed."""
    values = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(values).convert(mode)


def save(path: Path, picture: Image.Image | int = 0, **options: Any) -> Path:
    """A picture, or the drawn one of a seed, in a file whose folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    (drawn(picture) if isinstance(picture, int) else picture).save(path, **options)
    return path


def fill(folder: Path, count: int, first: int = 0) -> list[str]:
    """`count` pictures that differ, as 000.png and so on from `first`; their names."""
    names = [f"{number:03}.png" for number in range(first, first + count)]
    for number, name in enumerate(names, first):
        save(folder / name, number)
    return names


def describe(folder: Path, captions: dict[str, Any]) -> Path:
    """metadata.jsonl with a row for each file name."""
    lines = [json.dumps({"file_name": name, "text": text}) + "\n" for name, text in captions.items()]
    path = folder / "metadata.jsonl"
    path.write_text("".join(lines), encoding="utf-8")
    return path


def png_claiming(width: int, height: int) -> bytes:
    """A PNG whose header claims a size that its few bytes do not have."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(b"\0" * 1000)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
