"""What an engine promises, with no torch and no Ray: the types that cross the line between a study and a device.

A study hands an engine `TrialSpec`s and asks each to `advance` to its next report; the engine trains every trial that
has been asked, together. `engine/trainer.py` implements the contract on a device, `engine/actor.py` puts Ray around
it, and the tests and the overhead benchmark implement it with an engine that does nothing. All types pickle.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from tuner.config import StudyConfig
from tuner.store.outputs import Output


@dataclass(frozen=True)
class TrialSpec:
    """One configuration to train. `params` holds the hyperparameters by their config names (rank, learning_rate,
    epochs...); `seed` draws everything random of this trial: initial weights, data order, dropout."""

    trial_id: str
    params: Mapping[str, Any]
    seed: int


@dataclass(frozen=True)
class Report:
    """What a trial has reached at one report.

    `samples` is the number of training rows seen, the axis on which ASHA's rungs lie. `metrics` are plain floats and
    always hold `score` (the objective), unless `status` is not "ok". `done` is true on the last report of the trial.
    `status`: "ok", "nan" (loss or weights not finite), "out_of_memory" (it ran out even alone), "failed" (see
    `message`).
    """

    trial_id: str
    index: int
    samples: int
    done: bool
    metrics: Mapping[str, float]
    status: str = "ok"
    message: str = ""


@dataclass(frozen=True)
class EngineInfo:
    """An engine at rest: where it runs and what it measured. `max_pack` is how many trials it trains at once;
    `samples_per_second` is the measured rate over all its trials, 0.0 before anything was measured; `base_memory_mb`
    what the frozen base takes and `adapter_memory_mb` what each more trial takes with its activations; `notes` are
    sentences for the log (which dtype and why)."""

    name: str
    device: str
    dtype: str
    max_pack: int
    samples_per_second: float = 0.0
    base_memory_mb: float = 0.0
    adapter_memory_mb: float = 0.0
    train_rows: int = 0
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class EngineLoad:
    """An engine at work: how many trials it holds and how many training rows they still ask for."""

    trials: int
    samples_left: int
    samples_per_second: float


@dataclass(frozen=True)
class EngineSettings:
    """All an engine needs to come up by itself: the study's config, its device and how many threads or trials it may
    use."""

    config: StudyConfig
    device: str
    threads: int = 1
    max_pack: int = 8
    name: str = "engine"
    options: Mapping[str, Any] = field(default_factory=dict)


class Engine(Protocol):
    """Trains many trials on one device over one frozen base.

    Guarantees: `advance` may be called from many threads at once, once per trial at a time; trials that are advancing
    at the same moment are trained together; what a trial learns does not depend on its company (fp32: to 1e-5). A
    trial that fails reports so and leaves the others untouched. `checkpoint` after a report followed by `start` with
    those bytes, here or on another engine of the same study, continues the trial as if it had not stopped.
    """

    def info(self) -> EngineInfo:
        """Where it runs and what it measured so far."""

    def load(self) -> EngineLoad:
        """How busy it is now; answers at once, also while training."""

    def start(self, spec: TrialSpec, checkpoint: bytes | None = None) -> None:
        """Take a trial in, fresh or from checkpoint bytes. Raises TrialError if it cannot be held."""

    def advance(self, trial_id: str) -> Report:
        """Train this trial to its next report and return it. Blocks."""

    def advance_all(self, trial_ids: Sequence[str]) -> list[Report]:
        """Train these trials, packed, each to its next report: the same work in the same order every time."""

    def checkpoint(self, trial_id: str) -> bytes:
        """The state after the newest report, with the adapter of the best one: a safetensors file."""

    def evaluate(self, trial_id: str, split: str) -> dict[str, float]:
        """Metrics of the trial's best adapter on "validation" or "test"."""

    def outputs(self, trial_id: str, split: str, count: int) -> list[Output]:
        """What the trial's best adapter answers to the first `count` rows of "validation" or "test", in their order,
        all where there are fewer. Raises TrialError if it cannot."""

    def export(self, trial_id: str, which: str = "best") -> dict[str, bytes]:
        """The adapter of the "best" or the "last" report as a PEFT folder: content by relative file name."""

    def stop(self, trial_id: str) -> None:
        """Forget a trial and free its slot; unknown ids are no error."""

    def close(self) -> None:
        """End the training thread; the engine takes no more calls."""
