"""What a task promises to a server: one frozen base that answers for many adapters at once. Imports no torch.

A server makes a `Job` of each request and gives it to the base in the one thread that touches the model. The base takes
jobs whenever they come and moves all that are under way on by one step: classification answers them in it, a
text gets one more token, a picture one more step of its drawing. So jobs join and leave as they come, whichever
adapters they name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from tuner.bases.describe import BaseFacts
    from tuner.device import Device
    from tuner.lora.table import AdapterTable, Opened, Resident


@dataclass(frozen=True)
class ServedFacts:
    """Which base serves. `checksum` is what adapters were trained on; `languages` are codes as in
    `tuner.data.language`; `precision` is the dtype's short name."""

    name: str
    revision: str | None
    checksum: str
    languages: tuple[str, ...]
    device: str
    precision: str

    @classmethod
    def of(cls, facts: BaseFacts, device: Device) -> ServedFacts:
        """Of a base on a device."""
        return cls(facts.name, facts.revision, facts.checksum, facts.languages, device.name, device.dtype_name)


@dataclass(eq=False)
class Job:
    """One request under way: `ask` of the task's own kind, answered with `adapter`. `piece` takes parts of an answer as
    they come, `end` the answer or the error, once; both are called in the thread of the model, and must not wait.
    Anybody may set `cancelled`: the base forgets the job at its next step and ends it with nothing."""

    ask: Any
    adapter: Resident
    end: Callable[[Any], None]
    piece: Callable[[Any], None] | None = None
    cancelled: bool = False


class ServedBase(Protocol):
    """One frozen base with its adapters. Not thread-safe, but for `open` and what a task adds for its own routes.

    What an adapter answers depends on its own request alone, whoever else is under way: in fp32 to 1e-5. A job that
    fails ends with its error and leaves the others be; an error that `step` raises is the base's own, and ends all
    that are under way.
    """

    facts: ServedFacts
    table: AdapterTable
    alone: bool
    """Whether the base answers without an adapter."""

    def open(self, folder: Path) -> Opened:
        """Read an adapter's folder and check that it is of this base. Raises StoreError, BaseModelError."""

    def canary(self) -> Any:
        """A small ask that every adapter can answer."""

    def sound(self, answer: Any) -> bool:
        """Whether an answer to `canary` is one that an adapter in order gives: finite, not empty."""

    def admit(self, jobs: Sequence[Job]) -> None:
        """Take new jobs."""

    def step(self) -> int:
        """Move the jobs under way on by one forward; how many rows that forward had."""

    @property
    def busy(self) -> bool:
        """Whether jobs are under way."""

    def abandon(self, error: Exception) -> None:
        """End every job that is under way with this error."""
