"""What a task promises that can run studies one after the other, the second on what the first found, and compare what
came of both. Whoever runs studies runs these two; the task knows what lies between them.

Imports no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tuner.config import StudyConfig
from tuner.store.records import StudyRecord

SpaceOf = Callable[[str], StudyConfig]
"""The config that a mode's own search space makes by itself."""


@dataclass(frozen=True)
class Way:
    """One way to do the task, as measured. `values` are by the keys of `Comparison.columns`, NaN where nothing was
    measured; `command` uses it."""

    name: str
    title: str
    values: Mapping[str, float]
    command: str


@dataclass(frozen=True)
class Comparison:
    """Ways side by side, the cheapest first. `columns` maps each value to its heading; `best` names the way that
    `recommendation`, in sentences, advises; `files` hold all of it."""

    columns: Mapping[str, str]
    ways: tuple[Way, ...]
    best: str
    recommendation: str
    files: tuple[Path, ...]


class Chain(Protocol):
    """Two studies of one config, made as `Chain(config, space_of)`; `config.name` names their common folder. Making one
    checks base, spaces and rows, and raises as `TaskSpec.prepare` does."""

    first: StudyConfig
    second: StudyConfig

    def hand_over(self, first: StudyRecord, *, fixed: bool) -> Sequence[str]:
        """Write what the second study learns from, out of the first, which is complete; sentences on it. What is there
        already stays if it would be the same. `fixed`: the second study has begun, so StudyError if it would not."""

    def compare(self, first: StudyRecord, second: StudyRecord) -> Comparison:
        """Measure every way on held-out rows and write what was found. Both studies are complete. Raises
        BaseModelError, DeviceError, StoreError."""
