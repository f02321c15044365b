"""Headers of safetensors files: the library's own pass, and each damage is named before the library opens it."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load, save

from tests.registry.toys import TENSORS, framed
from tuner.registry.tensor_file import MAX_HEADER, check_header


def check(data: bytes) -> None:
    check_header(io.BytesIO(data), len(data))


def one(**about: Any) -> bytes:
    """A file of 24 bytes of data whose tensor is described so."""
    whole = {"dtype": "F32", "shape": [6], "data_offsets": [0, 24], **about}
    return framed(json.dumps({"a": whole}).encode(), bytes(24))


def test_what_the_library_writes_passes() -> None:
    check(TENSORS)
    kinds = (torch.float32, torch.float16, torch.bfloat16, torch.int8, torch.uint8, torch.bool, torch.int64)
    tensors = {str(kind): torch.ones((2, 3), dtype=kind) for kind in (*kinds, torch.float8_e4m3fn, torch.float64)}
    check(save({**tensors, "scalar": torch.tensor(1.0), "empty": torch.zeros(0, 4)}, metadata={"state": "{}"}))
    check(save({}))


DAMAGE = {
    "empty": (b"", "header alone takes 8"),
    "header longer than the file": (framed(b"{}", b"")[:8] + b"{", "claims 2 bytes, and the file has 1"),
    "absurd length": (b"\xff" * 8 + b"{}", "claims 18446744073709551615 bytes"),
    "above our limit": ((MAX_HEADER + 1).to_bytes(8, "little") + bytes(100), "are allowed"),
    "no JSON": (framed(b"{a: 1}", b""), "no JSON"),
    "no UTF-8": (framed(b'{"\xff": 1}', b""), "no UTF-8"),
    "no object": (framed(b"[1]", b""), "no JSON object"),
    "nested": (framed(b'{"a":' + b"[" * 9 + b"]" * 9 + b"}", b""), "3 levels"),
    "bomb": (framed(b"[" * 100_000, b""), "levels"),
    "key twice": (framed(b'{"a": {}, "a": {}}', b""), "comes twice"),
    "metadata": (framed(b'{"__metadata__": {"a": 1}}', b""), "not a table of texts"),
    "missing part": (framed(b'{"a": {"dtype": "F32"}}', b""), "no dtype, shape and data_offsets"),
    "extra part": (one(code="x"), "no dtype, shape and data_offsets"),
    "dtype": (one(dtype="PICKLE"), "unknown dtype 'PICKLE'"),
    "dtype of another kind": (one(dtype=["F32"]), "unknown dtype"),
    "negative shape": (one(shape=[-6]), "no lists of a few counts"),
    "bool shape": (one(shape=[True, 6]), "no lists of a few counts"),
    "many dimensions": (one(shape=[6, *[1] * 8]), "no lists of a few counts"),
    "huge shape": (one(shape=[2**47, 2**47]), "has 24 bytes"),
    "shape and bytes": (one(shape=[7]), "has 24 bytes"),
    "reversed": (one(data_offsets=[24, 0]), "has -24 bytes"),
    "outside the file": (one(shape=[7], data_offsets=[0, 28]), "take 28 bytes, and the file holds 24"),
    "data left over": (one(shape=[5], data_offsets=[0, 20]), "take 20 bytes, and the file holds 24"),
    "gap": (one(shape=[5], data_offsets=[4, 24]), "begins at 4 where the one before ends at 0"),
    "truncated": (TENSORS[:-1], "and the file holds 31"),
    "longer": (TENSORS + b"\0", "and the file holds 33"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_named(damage: str) -> None:
    data, message = DAMAGE[damage]
    with pytest.raises(ValueError, match=message):
        check(data)


def test_an_overlap_is_named() -> None:
    about = {"dtype": "U8", "shape": [8], "data_offsets": [0, 8]}
    header = {"a": about, "b": {**about, "data_offsets": [4, 12]}}
    with pytest.raises(ValueError, match="tensor 'b' begins at 4 where the one before ends at 8"):
        check(framed(json.dumps(header).encode(), bytes(12)))


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_what_passes_the_library_can_open(data: st.DataObject) -> None:
    """A file with some bytes changed either is refused, or is one that the library opens too."""
    changed = bytearray(TENSORS)
    for _ in range(data.draw(st.integers(1, 3))):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    try:
        check(bytes(changed))
    except ValueError:
        return
    load(bytes(changed))


def test_the_toy_is_a_real_file() -> None:
    assert {name: tuple(value.shape) for name, value in load(TENSORS).items()} == {"a": (2, 3), "b": (4,)}
