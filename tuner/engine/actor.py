"""An engine behind Ray: one actor a device, and the same engine in process.

The engine's class is named by import path, so that this module, and the driver that loads it, never import torch. The
actor is threaded: as many calls as the engine takes trials may block in `advance`, while `info` and `load` are
answered from a group of their own. It never restarts by itself: a new process would know none of its trials. `pool.py`
starts another.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

from tuner.device import COMPUTE_ENVIRONMENT, ray_resources
from tuner.engine.contract import Engine, EngineInfo, EngineLoad, EngineSettings, Report, TrialSpec
from tuner.errors import EngineError, TunerError
from tuner.store.outputs import Output

if TYPE_CHECKING:
    from tuner.engine.placement import Place

DEVICE_ENGINE = "tuner.engine.trainer:DeviceEngine"
"""The engine that trains."""

_SPARE_CALLS = 8  # starts, stops and checkpoints beside the advances


def local_engine(path: str, settings: EngineSettings) -> Engine:
    """The engine "module:Class", made in this process. Raises what the engine raises when it cannot come up."""
    module, _, name = path.partition(":")
    engine: Engine = getattr(importlib.import_module(module), name)(settings)
    return engine


class EngineActor:
    """What runs in the actor's process: the engine, with a report and its checkpoint fetched in one call."""

    def __init__(self, path: str, settings: EngineSettings) -> None:
        self._up: Engine | None = None
        self._failure: TunerError | None = None
        try:
            self._up = local_engine(path, settings)
        except TunerError as error:
            # Raised here it would reach the driver as a dead actor with a traceback; kept, `info` raises it.
            self._failure = error

    @property
    def _engine(self) -> Engine:
        if self._up is None:
            raise self._failure or EngineError("the engine did not come up.")
        return self._up

    def info(self) -> EngineInfo:
        """See `Engine.info`."""
        return self._engine.info()

    def load(self) -> EngineLoad:
        """See `Engine.load`."""
        return self._engine.load()

    def start(self, spec: TrialSpec, checkpoint: bytes | None = None) -> None:
        """See `Engine.start`."""
        self._engine.start(spec, checkpoint)

    def advance(self, trial_id: str) -> tuple[Report, bytes | None]:
        """The next report and, if the trial is well, the checkpoint that belongs to it."""
        report = self._engine.advance(trial_id)
        return report, self._engine.checkpoint(trial_id) if report.status == "ok" else None

    def evaluate(self, trial_id: str, split: str) -> dict[str, float]:
        """See `Engine.evaluate`."""
        return self._engine.evaluate(trial_id, split)

    def outputs(self, trial_id: str, split: str, count: int) -> list[Output]:
        """See `Engine.outputs`."""
        return self._engine.outputs(trial_id, split, count)

    def export(self, trial_id: str, which: str = "best") -> dict[str, bytes]:
        """See `Engine.export`."""
        return self._engine.export(trial_id, which)

    def stop(self, trial_id: str) -> None:
        """See `Engine.stop`."""
        self._engine.stop(trial_id)

    def close(self) -> None:
        """See `Engine.close`."""
        self._engine.close()


def start_actor(path: str, settings: EngineSettings, place: Place) -> Any:
    """Start an engine's actor on its node and return the handle at once; the engine comes up meanwhile.

    A CPU engine reserves as many whole CPUs as it has threads: for a fraction, Ray would set OMP_NUM_THREADS to 1."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    resources = ray_resources(place.device, settings.threads)
    quick = {name: ray.method(concurrency_group="quick")(getattr(EngineActor, name)) for name in ("info", "load")}
    actor_class: Any = ray.remote(concurrency_groups={"quick": 2})(  # type: ignore[call-overload]
        type("DeviceEngine", (EngineActor,), quick)
    )
    return actor_class.options(
        name=settings.name,
        num_cpus=resources.pop("CPU", 0),
        num_gpus=resources.pop("GPU", 0),
        resources=resources,
        max_concurrency=settings.max_pack + _SPARE_CALLS,
        max_restarts=0,
        # a cluster of one's own inherits it from this process
        runtime_env={"env_vars": COMPUTE_ENVIRONMENT} if os.environ.get("RAY_ADDRESS") else None,
        scheduling_strategy=NodeAffinitySchedulingStrategy(place.node_id, soft=False),
    ).remote(path, settings)
