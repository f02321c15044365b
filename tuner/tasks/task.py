"""What a task promises: the light half that the CLI and the driver read, and the heavy half that an engine runs.

`TaskSpec` imports no torch. `Task` is made on a device by `TaskSpec.load`; it owns the frozen base, the rows and the
loss. An engine knows rows only as indices: it picks which rows an adapter learns from, the task turns them into one
batch for the whole pack, and returns the loss of each row, so that the engine can reduce it per adapter.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from tuner.config import BandConfig, Constant, StudyConfig
from tuner.score import DEFAULT_BANDS
from tuner.score_benchmark import Benchmark, Measure
from tuner.store.outputs import Output
from tuner.tasks.chain import Chain, SpaceOf

_SHARE = BandConfig(excellent=0.9, good=0.7, average=0.5)  # of a metric that a task gives no band

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    from tuner.device import Device
    from tuner.lora.packed import Pack, PackContext
    from tuner.lora.parameters import AdapterShape, Site
    from tuner.tasks.served import ServedBase


@dataclass(frozen=True)
class Prepared:
    """What was read and found right before a model loads. `data` are the task's own rows, picklable, handed to every
    engine; `summary` is plain JSON for the record and the model card, in which "splits" says of each split how many
    rows it has ("total_samples"); `warnings` are sentences for the user."""

    data: Any
    summary: Mapping[str, Any]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Usage:
    """How others open what a study leaves: the hub's names of the library and of what the model does, and Python code,
    line by line."""

    library: str
    pipeline_tag: str
    code: tuple[str, ...]


@dataclass(frozen=True)
class TaskSpec:
    """The light half of a task: names, bands and where its heavy half lives.

    `quality` and `preservation` name the metrics behind those components of the score (where the rows call for another
    quality, `Prepared.summary` names it, see `for_rows`); `bands` holds the edges of "efficiency", "quality" and
    "preservation", and of any other metric that is graded in reports. `bases` maps short names (minilm) to what
    `base_model` may hold; anything else is a hub id or a folder. `hyperparameters` maps every name a space may use
    beyond the common ones to its default. `preparation` is "module:function", the checks that need no torch;
    `implementation` is "module:class", the heavy half. `benchmark` says how outputs are judged one by one; without one
    they are judged by quality and preservation alone. `answer` is the key under which its predictor gives the answer in
    words, as `Output.answer` has it; `example` an input worth typing after a study. `modes` maps the ways of working
    that a task has besides one another (a space's constant `mode`) to the search space of each; `chains` maps those of
    them that are several studies to "module:class", a `Chain`. Where `trains` is false, trials are judged as they
    stand, with no step of training. `usage` is "module:function", of base and the space's constants, where what a
    study leaves is no PEFT folder. `served` is "module:class", a `ServedBase`, of a task that can be served, and
    `speaks` the interface over which it answers: predict, chat or images.
    """

    name: str
    title: str
    quality: str
    preservation: str
    bands: Mapping[str, BandConfig]
    bases: Mapping[str, str]
    default_space: str
    preparation: str
    implementation: str
    columns: Mapping[str, str] = field(default_factory=dict)
    hyperparameters: Mapping[str, Any] = field(default_factory=dict)
    benchmark: Benchmark | None = None
    answer: str = "answer"
    example: str = "..."
    modes: Mapping[str, str] = field(default_factory=dict)
    chains: Mapping[str, str] = field(default_factory=dict)
    trains: bool = True
    usage: str = ""
    served: str = ""
    speaks: str = ""

    @property
    def judged_by(self) -> Benchmark:
        """How outputs are judged one by one."""
        if self.benchmark is not None:
            return self.benchmark
        bands = {**DEFAULT_BANDS, **self.bands}
        names = {name: self.sources[name] for name in ("quality", "preservation")}
        return Benchmark(
            measures=tuple(
                Measure(name, metric, metric, metric.replace("_", " "), bands.get(name, _SHARE))
                for name, metric in names.items()
            ),
            weights=dict.fromkeys(names, 0.5),
            deciding="quality",
        )

    @property
    def sources(self) -> dict[str, str]:
        """The metric behind each component of the score."""
        return {"efficiency": "efficiency", "quality": self.quality, "preservation": self.preservation}

    def prepare(self, config: StudyConfig) -> Prepared:
        """Check base, space and rows without loading a model. Raises BaseModelError, ConfigError, DataError."""
        prepared: Prepared = _named(self.preparation)(config)
        return prepared

    def for_rows(self, summary: Mapping[str, Any]) -> TaskSpec:
        """This task as rows with that summary are judged: by another quality metric where they call for one, without
        training where there is none ("trains")."""
        return replace(self, quality=summary.get("quality", self.quality), trains=summary.get("trains", self.trains))

    def chain_mode(self, config: StudyConfig) -> str | None:
        """The mode of a config that is several studies one after the other; None for one study."""
        mode = config.space.get("mode")
        named = mode.value if isinstance(mode, Constant) and isinstance(mode.value, str) else None
        return named if named in self.chains else None

    def chain(self, mode: str, config: StudyConfig, space_of: SpaceOf) -> Chain:
        """The studies of a config of that mode. Raises BaseModelError, ConfigError, DataError."""
        chain: Chain = _named(self.chains[mode])(config, space_of)
        return chain

    def used(self, base: str, space: Mapping[str, Any]) -> Usage | None:
        """How what a study leaves is opened; None for a PEFT folder."""
        found: Usage | None = _named(self.usage)(base, space) if self.usage else None
        return found

    def load(self, config: StudyConfig, device: Device, prepared: Prepared) -> Task:
        """Import the heavy half and build it on a device. Raises BaseModelError, DeviceError."""
        task: Task = _named(self.implementation)(config, device, prepared)
        return task

    def serve(self, base_model: str, revision: str | None, device: Device, capacity: int) -> ServedBase:
        """The base on a device, ready to answer, with room for `capacity` bytes of adapters. Raises BaseModelError."""
        base: ServedBase = _named(self.served).serve(base_model, revision, device, capacity)
        return base

    def predictor(self, adapter: Path) -> Predictor:
        """What answers for a saved adapter. Raises BaseModelError, StoreError."""
        loaded: Predictor = _named(self.implementation).predictor(adapter)
        return loaded


def _named(place: str) -> Any:
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(module), name)


class Predictor(Protocol):
    """A saved adapter on its base, ready to answer."""

    def predict(self, inputs: Sequence[str]) -> list[dict[str, Any]]:
        """One dict of plain values per input, in order."""


@runtime_checkable
class Streaming(Protocol):
    """A predictor that can show its answer while it is being written."""

    def stream(self, text: str) -> Iterator[str]:
        """Pieces of the answer to one input, in order; together they are the answer."""


@runtime_checkable
class Drawing(Protocol):
    """A predictor that draws what it answers."""

    def draw(self, prompt: str, seed: int | None = None) -> NDArray[np.uint8]:
        """The picture (H, W, 3) of a prompt. The same prompt and seed, 0 to 2**63 - 1, give the same picture; without
        one, the seed is the prompt's own."""

    def unread(self, prompt: str) -> str:
        """The end of a prompt that is too long to be read whole, "" of one that is not."""


class Task(Protocol):
    """The heavy half of a task on one device. Not thread-safe: one thread touches it.

    The loss of a row depends on that row and its own adapter alone, whoever else is in the pack. A task may also have
    `notes`, sentences for the user about how it holds its base (see `EngineInfo`).
    """

    context: PackContext
    sites: Sequence[Site]
    train_rows: int
    notes: Sequence[str]
    """Sentences for the user on how the base was loaded, where it is not as the config asks."""

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the frozen base's activations."""

    def shape(self, params: Mapping[str, Any]) -> AdapterShape:
        """Which modules an adapter of these hyperparameters trains, and at which rank."""

    def losses(self, pack: Pack, rows: Sequence[Sequence[int]]) -> torch.Tensor:
        """Loss of each training row (B,) in fp32, members in order: rows[i] are the training rows of member i."""

    def row_costs(self) -> Sequence[int]:
        """Tokens of each training row (1 each where rows cost the same)."""

    def evaluate(self, pack: Pack, split: str) -> list[dict[str, float]]:
        """Metrics of each member on all rows of "validation" or "test", the quality and preservation metrics among
        them."""

    def outputs(self, pack: Pack, split: str, count: int) -> list[Output]:
        """What the one member of this pack answers to the first `count` rows of "validation" or "test" (all where there
        are fewer), in their order. The metrics of `TaskSpec.judged_by` are among each output's; what could not be
        measured is left out."""

    def save(self, directory: Path, tensors: Mapping[str, torch.Tensor], params: Mapping[str, Any]) -> None:
        """Write one adapter (tensors as `Layout.trimmed` gives them) as a PEFT folder, with what `predictor` needs."""
