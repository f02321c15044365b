"""A toy adapter's folder, and a registry with some versions of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tuner.registry import AdapterName, Origin, Registry, Version

NAME = AdapterName("sentiment", "reviews")
BY = "cli:test"


def tensor_file(tensors: Mapping[str, tuple[str, list[int], int]], data: bytes) -> bytes:
    """A safetensors file of tensors (dtype, shape, bytes) one after the other."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    at = 0
    for name, (dtype, shape, size) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + size]}
        at += size
    return framed(json.dumps(header).encode(), data)


def framed(header: bytes, data: bytes) -> bytes:
    """A header with its length, and data."""
    return len(header).to_bytes(8, "little") + header + data


TENSORS = tensor_file({"a": ("F32", [2, 3], 24), "b": ("BF16", [4], 8)}, bytes(range(32)))


def make_adapter(folder: Path, number: int = 0) -> Path:
    """An adapter that differs from those of other numbers."""
    (folder / "part").mkdir(parents=True)
    (folder / "adapter_model.safetensors").write_bytes(TENSORS)
    (folder / "adapter_config.json").write_text(json.dumps({"r": 8, "number": number}))
    (folder / "part" / "merges.txt").write_text("鞋 子\n", encoding="utf-8")
    return folder


def fine(folder: Path) -> None:
    """A canary that lives."""
    assert (folder / "adapter_config.json").is_file()


def promote(registry: Registry, source: Path, alias: str | None = "champion", name: AdapterName = NAME) -> Version:
    """Promote a folder without ado."""
    return registry.promote(source, name, origin=Origin("toy"), alias=alias, check=fine, by=BY)


def several(registry: Registry, folder: Path, count: int) -> list[str]:
    """So many versions of one name, the last of them the champion."""
    return [promote(registry, make_adapter(folder / f"source-{number}", number)).version for number in range(count)]


def left_over(registry: Registry) -> list[str]:
    """Names of the hidden folders beside the versions."""
    return [path.name for path in registry.path.glob("versions/*/*/.*")]
