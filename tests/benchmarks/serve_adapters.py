"""Adapters of `serve`: seeded random weights, saved as the sentiment task saves them, promoted to a registry; and
thirty ways to damage them afterwards.

Nothing is trained: what a server answers is held against what PEFT answers with the same weights, whatever they are.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from tuner.bases.describe import describe
from tuner.config import Constant, StudyConfig
from tuner.device import select_devices
from tuner.registry import AdapterName, Origin, Registry, Version
from tuner.tasks.sentiment.prepare import prepare
from tuner.tasks.sentiment.task import SentimentTask

BASE = "minilm"
PLAIN: dict[str, Any] = {"rank": 8, "alpha": 16.0, "dropout": 0.0, "target_modules": ["query", "value"]}
"""As the default study's start point has it."""
WIDE: dict[str, Any] = {
    "rank": 16, "alpha": 32.0, "dropout": 0.0, "target_modules": ["query", "key", "value", "attention.output.dense"]
}  # fmt: skip
WEIGHTS, CONFIG, MANIFEST = "adapter_model.safetensors", "adapter_config.json", "manifest.json"


class Maker:
    """Makes adapters and promotes them to a registry."""

    def __init__(self) -> None:
        constants = {"rank": 8, "learning_rate": 1e-3, "epochs": 1, "batch_size": 8}
        config = StudyConfig(
            task="sentiment",
            name="bench",
            base_model=BASE,
            space={name: Constant(value=value) for name, value in constants.items()},
            devices=["cpu"],
        )
        self._task = SentimentTask(config, select_devices("cpu", "fp32")[0], prepare(config))
        self._sites = {site.name: site for site in self._task.sites}
        self._origin = Origin(BASE, base_checksum=describe(BASE).checksum)

    def promote(
        self,
        registry: Registry,
        name: str,
        seed: int,
        *,
        alias: str | None = "champion",
        params: dict[str, Any] = PLAIN,
    ) -> Version:
        """The adapter of a seed as a version of sentiment/`name`."""
        with tempfile.TemporaryDirectory(prefix="tuner-bench-adapter-") as scratch:
            self._task.save(Path(scratch), self._tensors(seed, params), params)
            return registry.promote(
                Path(scratch), AdapterName("sentiment", name), origin=self._origin, alias=alias,
                check=lambda folder: None, by="benchmark",
            )  # fmt: skip

    def _tensors(self, seed: int, params: dict[str, Any]) -> dict[str, torch.Tensor]:
        """Weights large enough that adapters disagree: A as PEFT draws it, B at a tenth, the head at 0.15."""
        generator = torch.Generator().manual_seed(seed)
        shape = self._task.shape(params)

        def drawn(std: float, *sizes: int) -> torch.Tensor:
            return torch.randn(*sizes, generator=generator) * std

        found = {}
        for name in sorted(shape.targets):
            site = self._sites[name]
            found[f"{name}.A"] = drawn((3 * site.inputs) ** -0.5, shape.rank, site.inputs)
            found[f"{name}.B"] = drawn(0.1, site.outputs, shape.rank)
        for name in sorted(shape.full):
            site = self._sites[name]
            found[f"{name}.weight"] = drawn(0.15, site.outputs, site.inputs)
            found[f"{name}.bias"] = drawn(0.1, site.outputs)
        return found


def damage(folder: Path, number: int) -> str:
    """Damage a version's folder in the way of this number, from 0; what was done, in words."""
    words, how = DAMAGES[number % len(DAMAGES)]
    how(folder)
    return words


def _replaced(path: Path, change: Callable[[bytes], bytes]) -> None:
    """A file with other bytes, under a new inode, as whoever writes beside the registry would leave it."""
    data = change(path.read_bytes())
    path.unlink()
    path.write_bytes(data)


def _bytes(name: str, change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    return lambda folder: _replaced(folder / name, change)


def _json(name: str, **fields: Any) -> Callable[[Path], None]:
    return _bytes(name, lambda data: json.dumps({**json.loads(data), **fields}, indent=1).encode())


def _flipped(at: float) -> Callable[[bytes], bytes]:
    """One bit of the byte at that share of the file."""

    def change(data: bytes) -> bytes:
        index = int(len(data) * at)
        return data[:index] + bytes([data[index] ^ 1]) + data[index + 1 :]

    return change


def _linked(folder: Path) -> None:
    moved = folder.parent / f"{folder.name}.moved"
    (folder / WEIGHTS).rename(moved)
    os.symlink(moved, folder / WEIGHTS)


def _folder_for_weights(folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    (folder / WEIGHTS).mkdir()


def _emptied(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


def _file_for_folder(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.write_bytes(b"")


def _deleted(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def _added(name: str, text: str) -> Callable[[Path], None]:
    def add(folder: Path) -> None:
        (folder / name).write_text(text, encoding="utf-8")

    return add


DAMAGES: tuple[tuple[str, Callable[[Path], None]], ...] = (
    ("a bit of the weights flipped", _bytes(WEIGHTS, _flipped(0.5))),
    ("the last bit of the weights flipped", _bytes(WEIGHTS, _flipped(0.999999))),
    ("a bit of the header flipped", _bytes(WEIGHTS, _flipped(0.0001))),
    ("the weights cut in half", _bytes(WEIGHTS, lambda data: data[: len(data) // 2])),
    ("the weights without their last byte", _bytes(WEIGHTS, lambda data: data[:-1])),
    ("a byte behind the weights", _bytes(WEIGHTS, lambda data: data + b"\0")),
    ("the weights empty", _bytes(WEIGHTS, lambda data: b"")),
    ("zeros for weights", _bytes(WEIGHTS, lambda data: bytes(len(data)))),
    ("a header of 2^63 bytes", _bytes(WEIGHTS, lambda data: b"\xff" * 7 + b"\x7f" + data[8:])),
    ("a pickle for weights", _bytes(WEIGHTS, lambda data: b"\x80\x04N.")),
    ("the weights deleted", _deleted(WEIGHTS)),
    ("the weights a link", _linked),
    ("the weights a folder", _folder_for_weights),
    ("the rank changed", _json(CONFIG, r=4)),
    ("alpha changed", _json(CONFIG, lora_alpha=32)),
    ("the base changed", _json("tuner.json", base_model="another")),
    ("the labels changed", _json("tuner.json", labels=["positive", "negative"])),
    ("the configuration deleted", _deleted(CONFIG)),
    ("the configuration no JSON", _bytes(CONFIG, lambda data: data[:-5])),
    ("tuner.json deleted", _deleted("tuner.json")),
    ("the manifest changed", _json(MANIFEST, files={})),
    ("the manifest with a blank more", _bytes(MANIFEST, lambda data: data + b" ")),
    ("the manifest deleted", _deleted(MANIFEST)),
    ("the manifest empty", _bytes(MANIFEST, lambda data: b"")),
    ("a file more", _added("extra.json", "{}")),
    ("a program more", _added("run.py", "raise SystemExit")),
    ("the tokenizer cut in half", _bytes("tokenizer.json", lambda data: data[: len(data) // 2])),
    ("the folder empty", _emptied),
    ("the folder gone", shutil.rmtree),
    ("a file for the folder", _file_for_folder),
)
