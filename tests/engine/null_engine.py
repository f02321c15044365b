"""An honest engine that trains nothing: the metrics of a trial are a function of its params, its seed and the rows it
"saw", so tests know what to expect and the overhead benchmark measures everything but training.

A learning rate above 1 diverges: NaN at its second report. Rank 13 does not fit. Checkpoints continue a trial as a real
engine's do.
"""

from __future__ import annotations

import json
import math
import os
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tuner.engine.contract import EngineInfo, EngineLoad, EngineSettings, Report, TrialSpec
from tuner.errors import DeviceError, EngineError, TrialError
from tuner.store.outputs import Output

NULL_ENGINE = "tests.engine.null_engine:NullEngine"
SLOW_ENGINE = "tests.engine.null_engine:SlowEngine"
MORTAL_ENGINE = "tests.engine.null_engine:MortalEngine"
ROWS = 100
HELD_OUT = 5


@dataclass(frozen=True)
class _State:
    spec: TrialSpec
    index: int = 0
    samples: int = 0
    best: float = -math.inf


def score_of(params: Mapping[str, Any], seed: int, samples: int) -> float:
    """What a trial scores after so many rows: best at learning rate 0.01, better with rank, rising with data."""
    fit = 0.9 - 0.1 * abs(math.log10(params["learning_rate"]) + 2) + 0.001 * params["rank"] + (seed % 97) * 1e-5
    return fit * (1 - math.exp(-(samples + 50) / 150))


class NullEngine:
    """Implements `tuner.engine.contract.Engine`."""

    def __init__(self, settings: EngineSettings) -> None:
        self.settings = settings
        self._states: dict[str, _State] = {}
        self._lock = threading.Lock()
        self._train_rows = settings.config.data.train_samples or ROWS
        self._closed = False

    def info(self) -> EngineInfo:
        most = min(self.settings.max_pack, 8)
        return EngineInfo(self.settings.name, self.settings.device, "none", most, train_rows=self._train_rows)

    def load(self) -> EngineLoad:
        return EngineLoad(len(self._states), sum(self._left(state) for state in list(self._states.values())), 0.0)

    def start(self, spec: TrialSpec, checkpoint: bytes | None = None) -> None:
        if spec.params["rank"] == 13:
            raise TrialError("out_of_memory", "rank 13 does not fit")
        state = _State(spec)
        if checkpoint is not None:
            state = replace(state, **json.loads(checkpoint))
        with self._lock:
            self._states[spec.trial_id] = state

    def advance(self, trial_id: str) -> Report:
        if self._closed:
            raise EngineError("closed")
        state = self._held(trial_id)
        total = self._total(state)
        step = max(1, self._train_rows // self.settings.config.search.reports_per_epoch)
        samples = min(total, state.samples + step)
        if state.spec.params["learning_rate"] > 1 and state.index > 0:
            return Report(trial_id, state.index, samples, True, {}, "nan", "the loss is not finite")
        score = score_of(state.spec.params, state.spec.seed, samples)
        self._states[trial_id] = replace(state, index=state.index + 1, samples=samples, best=max(score, state.best))
        metrics = {"score": score, "quality": score, "epoch": samples / self._train_rows}
        return Report(trial_id, state.index, samples, samples >= total, metrics)

    def advance_all(self, trial_ids: Sequence[str]) -> list[Report]:
        return [self.advance(trial_id) for trial_id in trial_ids]

    def checkpoint(self, trial_id: str) -> bytes:
        state = self._held(trial_id)
        return json.dumps({"index": state.index, "samples": state.samples, "best": state.best}).encode()

    def evaluate(self, trial_id: str, split: str) -> dict[str, float]:
        return {"score": self._held(trial_id).best - (0.01 if split == "test" else 0.0)}

    def outputs(self, trial_id: str, split: str, count: int) -> list[Output]:
        score = self.evaluate(trial_id, split)["score"]
        return [
            Output(
                name=f"nothing_{number}",
                input=f"{split} row {number}",
                expected="something",
                answer="nothing",
                metrics={"quality": score - 0.01 * number, "preservation": 1 - 0.1 * number},
            )
            for number in range(1, min(count, HELD_OUT) + 1)
        ]

    def export(self, trial_id: str, which: str = "best") -> dict[str, bytes]:
        state = self._held(trial_id)
        content = {"params": dict(state.spec.params), "score": state.best, "which": which, "samples": state.samples}
        return {"adapter_config.json": json.dumps(content).encode(), "adapter_model.safetensors": b"weights"}

    def stop(self, trial_id: str) -> None:
        with self._lock:
            self._states.pop(trial_id, None)

    def close(self) -> None:
        self._closed = True

    def _held(self, trial_id: str) -> _State:
        try:
            return self._states[trial_id]
        except KeyError:
            raise TrialError("failed", f"{self.settings.name} does not hold trial {trial_id}") from None

    def _total(self, state: _State) -> int:
        return round(state.spec.params["epochs"] * self._train_rows)

    def _left(self, state: _State) -> int:
        return self._total(state) - state.samples


class SlowEngine(NullEngine):
    """Takes a moment for each report, so that a test can interrupt it."""

    def advance(self, trial_id: str) -> Report:
        time.sleep(0.1)
        return super().advance(trial_id)


def first_to_leave(mark: Path) -> bool:
    """Leave a file; whether it was not there before. Of several processes that try at once one is the first."""
    try:
        mark.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


class MortalEngine(NullEngine):
    """Dies once, in the middle of the second report of the first trial, and leaves a file that says so."""

    def advance(self, trial_id: str) -> Report:
        mark = Path(self.settings.config.results) / "died"
        if self._states[trial_id].index == 1 and first_to_leave(mark):
            os._exit(1)
        return super().advance(trial_id)


class BreakingEngine(NullEngine):
    """Breaks once, in the middle of the second report of the first trial, and lives on as an engine that refuses."""

    def advance(self, trial_id: str) -> Report:
        mark = Path(self.settings.config.results) / "broke"
        if self._states[trial_id].index == 1 and first_to_leave(mark):
            self._closed = True
            raise EngineError("it broke: the device is gone")
        return super().advance(trial_id)

    def start(self, spec: TrialSpec, checkpoint: bytes | None = None) -> None:
        if self._closed:
            raise EngineError("closed")
        super().start(spec, checkpoint)


class DyingEngine(NullEngine):
    """Dies whenever it is asked to train."""

    def advance(self, trial_id: str) -> Report:
        os._exit(1)


class CpuEngine(NullEngine):
    """Comes up on a CPU only, as where torch has no build for the GPU."""

    def __init__(self, settings: EngineSettings) -> None:
        if settings.device != "cpu":
            raise DeviceError(f"{settings.device} is not there.")
        super().__init__(settings)


class RefusingEngine(NullEngine):
    """Does not come up."""

    def __init__(self, settings: EngineSettings) -> None:
        raise DeviceError("there is no such thing here.")
