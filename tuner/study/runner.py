"""What a study needs of whoever runs its trials: `in_process.py` and `on_ray.py` both keep this contract."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from tuner.engine.contract import EngineInfo, Report, TrialSpec
from tuner.store.outputs import Output
from tuner.study.search import Search


@dataclass(frozen=True)
class Trained:
    """A configuration trained to its end outside the search: its best report, metrics on the test split, its state."""

    spec: TrialSpec
    best: Report
    test: Mapping[str, float]
    checkpoint: bytes


class Runner(Protocol):
    """Engines and a way to run trials on them: first `start`, then the others one at a time, `close` at the end."""

    def start(self) -> list[EngineInfo]:
        """Bring the engines up. Raises BaseModelError, DataError, DeviceError, EngineError as the engines do."""

    def search(self, search: Search) -> None:
        """Run trials until the search has no more or the study is interrupted. Raises EngineError if no engine is
        left."""

    def train(
        self,
        specs: Sequence[TrialSpec],
        on_report: Callable[[Report], None],
        on_trained: Callable[[Trained], None],
    ) -> None:
        """Train configurations to their end, packed; `on_trained` for each as it ends. One that fails is left out, with
        a line in the log. Returns early when the study is interrupted."""

    def export(self, spec: TrialSpec, checkpoint: bytes) -> dict[str, bytes]:
        """The best adapter in a state that a trial reached, as a PEFT folder."""

    def outputs(self, spec: TrialSpec, checkpoint: bytes, split: str, count: int) -> list[Output]:
        """What that adapter answers to the first `count` rows of a split, see `Engine.outputs`."""

    def close(self) -> None:
        """End the engines."""
