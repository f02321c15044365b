"""What a task promises: the light half that the CLI and the driver read, and the heavy half that an engine runs.

`TaskSpec` imports no torch. `Task` is made on a device by `TaskSpec.load`; it owns the frozen base, the rows and the loss.
An engine knows rows only as indices: it picks which rows an adapter learns from, the task turns them into one batch for the
whole pack, and returns the loss of each row, so that the engine can reduce it per adapter.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from tuner.config import BandConfig, StudyConfig

if TYPE_CHECKING:
    import torch

    from tuner.device import Device
    from tuner.lora.packed import Pack


@dataclass(frozen=True)
class TaskSpec:
    """The light half of a task: names, bands and where its heavy half lives.

    `quality` and `preservation` name the metrics behind those components of the score; `bands` holds the edges of
    "efficiency", "quality" and "preservation", and of any other metric that is graded in reports. `bases` maps short names
    (minilm) to what `base_model` may hold; anything else is a hub id or a folder. `hyperparameters` maps every name a
    space may use beyond the common ones to its default. `implementation` is "module:class".
    """

    name: str
    title: str
    quality: str
    preservation: str
    bands: Mapping[str, BandConfig]
    bases: Mapping[str, str]
    default_space: str
    implementation: str
    columns: Mapping[str, str] = field(default_factory=dict)
    hyperparameters: Mapping[str, Any] = field(default_factory=dict)

    def load(self, config: StudyConfig, device: Device) -> Task:
        """Import the heavy half and build it on a device. Raises BaseModelError, DataError, DeviceError."""
        module, _, name = self.implementation.partition(":")
        task: Task = getattr(importlib.import_module(module), name)(config, device)
        return task

    def predictor(self, adapter: Path) -> Predictor:
        """What answers for a saved adapter. Raises BaseModelError, StoreError."""
        module, _, name = self.implementation.partition(":")
        loaded: Predictor = getattr(importlib.import_module(module), name).predictor(adapter)
        return loaded


class Predictor(Protocol):
    """A saved adapter on its base, ready to answer."""

    def predict(self, inputs: Sequence[str]) -> list[dict[str, Any]]:
        """One dict of plain values per input, in order."""


class Task(Protocol):
    """The heavy half of a task on one device. Not thread-safe: one thread touches it."""

    model: torch.nn.Module
    train_rows: int

    def check_targets(self, targets: Sequence[str]) -> None:
        """Raises ConfigError if the base has no such modules, naming those it has."""

    def trainable_modules(self, targets: Sequence[str]) -> tuple[list[str], list[str]]:
        """Names of the modules that get LoRA, and of those trained in full (a new head)."""

    def lengths(self) -> Sequence[int]:
        """Cost of each training row, in tokens (1 each where rows cost the same), for batches of like length."""

    def losses(self, pack: Pack, rows: Sequence[Sequence[int]]) -> torch.Tensor:
        """Loss of each training row (B,) in fp32, B over all members of the pack in order: rows[i] are member i's."""

    def evaluate(self, pack: Pack, split: str) -> list[dict[str, float]]:
        """Metrics of each member on a whole split, quality and preservation among them."""

    def save(self, directory: Path, state: Mapping[str, torch.Tensor], params: Mapping[str, Any]) -> None:
        """Write one adapter as a PEFT folder with all that `predictor` needs beside the base."""
