"""The header of a safetensors file, checked by hand before any library opens it.

    8 bytes    length of the header, little endian
    header     JSON: {"name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, ..., "__metadata__": {...}}
    data       the tensors end to end: no gap, no overlap, nothing after the last

Reads no weights.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, BinaryIO

from tuner.registry.bounded_json import parse_json

MAX_HEADER = 16 * 2**20
"""Bytes. A whole Stable Diffusion has 200 kB of header, a model of 100,000 tensors some 12 MB."""
MAX_DIMENSIONS = 8
"""Of a tensor. A convolution has four."""
_METADATA = "__metadata__"
_BYTES = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2"), 1),
    **dict.fromkeys(("U16", "I16", "F16", "BF16"), 2),
    **dict.fromkeys(("U32", "I32", "F32"), 4),
    **dict.fromkeys(("U64", "I64", "F64"), 8),
}


def check_header(file: BinaryIO, size: int) -> None:
    """Read the header of a file of `size` bytes. Raises ValueError, with a sentence, for the first thing wrong."""
    if size < 8:
        raise ValueError(f"it has {size} bytes, and its header alone takes 8")
    length = int.from_bytes(file.read(8), "little")
    if not 2 <= length <= MAX_HEADER:
        raise ValueError(f"its header claims {length} bytes, and 2 to {MAX_HEADER} are allowed")
    if length > size - 8:
        raise ValueError(f"its header claims {length} bytes, and the file has {size - 8} after its length")
    text = file.read(length)
    if len(text) != length:
        raise ValueError("it ends within its header")
    header = parse_json(text, depth=3)
    if not isinstance(header, dict):
        raise ValueError("its header is no JSON object")
    _check_metadata(header.pop(_METADATA, {}))
    _check_tensors(header, size - 8 - length)


def _check_metadata(metadata: Any) -> None:
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise ValueError("its metadata is not a table of texts")


def _check_tensors(header: Mapping[str, Any], data: int) -> None:
    spans = []
    for name, about in header.items():
        if not isinstance(about, dict) or about.keys() != {"dtype", "shape", "data_offsets"}:
            raise ValueError(f"tensor {name!r} has no dtype, shape and data_offsets")
        width = _BYTES.get(about["dtype"]) if isinstance(about["dtype"], str) else None
        if width is None:
            raise ValueError(f"tensor {name!r} has the unknown dtype {about['dtype']!r}")
        shape, offsets = about["shape"], about["data_offsets"]
        if not _counts(shape) or len(shape) > MAX_DIMENSIONS or not _counts(offsets) or len(offsets) != 2:
            raise ValueError(f"tensor {name!r} has a shape or offsets that are no lists of a few counts")
        begin, end = offsets
        if end - begin != math.prod(shape) * width:
            raise ValueError(f"tensor {name!r} of shape {shape} and dtype {about['dtype']} has {end - begin} bytes")
        spans.append((begin, end, name))
    at = 0
    for begin, end, name in sorted(spans):
        if begin != at:
            raise ValueError(f"tensor {name!r} begins at {begin} where the one before ends at {at}")
        at = end
    if at != data:
        raise ValueError(f"its tensors take {at} bytes, and the file holds {data}")


def _counts(value: Any) -> bool:
    return isinstance(value, list) and all(type(each) is int and 0 <= each < 2**48 for each in value)
