"""The engines of one study on Ray: which takes a trial, and what happens to its trials when one dies.

A trial is placed when it runs, on the engine that will finish it soonest by measured speed. An engine that died is
started again, at most twice; its trials go on from the checkpoints of their last reports, on whichever engine is
then best. All threads of the driver share one pool. Knows nothing of Tune, samplers or files.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tuner.engine.actor import start_actor
from tuner.engine.contract import EngineInfo, EngineLoad, EngineSettings, Report, TrialSpec
from tuner.engine.placement import Place
from tuner.errors import EngineError, TrialError, TunerError
from tuner.store.outputs import Output

log = logging.getLogger(__name__)

_RESTARTS = 2
_POLL_S = 0.25
_STOP_S = 10.0  # a stop waits for the step that is running
_PATIENCE_S = 60.0


class _Broke(Exception):
    """An engine answered that it is broken; its cause is the EngineError. The actor lives on, and is of no use."""


class Stopped(Exception):
    """The study is being stopped while a trial waits for its engine. Not an error; never shown."""


def choose(infos: Sequence[EngineInfo], loads: Sequence[EngineLoad], samples_needed: int) -> int | None:
    """Index of the engine that would finish `samples_needed` training rows soonest; None if all are full.

    An engine shares its measured speed among its trials, so what it still owes comes first. One that was not measured
    yet is taken to be as fast as the others are on average; if none was, the emptiest wins."""
    speeds = [load.samples_per_second or info.samples_per_second for info, load in zip(infos, loads, strict=True)]
    measured = [speed for speed in speeds if speed > 0]
    usual = sum(measured) / len(measured) if measured else 1.0
    best, soonest = None, 0.0
    for index, (info, load) in enumerate(zip(infos, loads, strict=True)):
        if load.trials >= info.max_pack:
            continue
        finish = (load.samples_left + samples_needed) / (speeds[index] or usual)
        if best is None or finish < soonest:
            best, soonest = index, finish
    return best


@dataclass
class _Member:
    settings: EngineSettings
    place: Place
    handle: Any
    info: EngineInfo | None = None
    owed: dict[str, int] = field(default_factory=dict)  # trial id -> training rows it still asks for
    restarts: int = 0
    dead: bool = False


@dataclass
class _Trial:
    spec: TrialSpec
    samples: int
    checkpoint: bytes | None
    seen: int = 0
    member: _Member | None = None
    handle: Any = None


class Pool:
    """Engines as actors. `stopping`, once set, makes every waiting call raise Stopped within a moment."""

    def __init__(
        self, path: str, settings: Sequence[EngineSettings], places: Sequence[Place], stopping: threading.Event
    ) -> None:
        self._path = path
        self._stopping = stopping
        self._lock = threading.Condition()
        self._trials: dict[str, _Trial] = {}
        self._members = [
            _Member(each, place, start_actor(path, each, place)) for each, place in zip(settings, places, strict=True)
        ]
        self.broken: EngineError | None = None

    def infos(self) -> list[EngineInfo]:
        """Wait until every engine is up and return what each says of itself. Raises what an engine raised instead."""
        try:
            for member in self._members:
                member.info = self._wait(member.handle.info.remote(), member.settings.name)
        except _Broke as error:
            raise error.__cause__ or error from None
        return [member.info for member in self._members if member.info is not None]

    def start(self, spec: TrialSpec, samples: int, checkpoint: bytes | None = None) -> None:
        """Place a trial that will train `samples` rows; waits for a slot. Raises TrialError, EngineError, Stopped."""
        trial = _Trial(spec, samples, checkpoint)
        self._trials[spec.trial_id] = trial
        self._place(trial)

    def advance(self, trial_id: str) -> tuple[Report, bytes | None]:
        """The trial's next report and checkpoint, from another engine if its own died. Raises EngineError, Stopped."""
        report, checkpoint = self._call(trial_id, "advance")
        trial = self._trials[trial_id]
        trial.seen = report.samples
        trial.checkpoint = checkpoint or trial.checkpoint
        with self._lock:
            if trial.member is not None and trial_id in trial.member.owed:
                trial.member.owed[trial_id] = max(0, trial.samples - report.samples)
        return report, checkpoint

    def evaluate(self, trial_id: str, split: str) -> dict[str, float]:
        """See `Engine.evaluate`."""
        metrics: dict[str, float] = self._call(trial_id, "evaluate", split)
        return metrics

    def outputs(self, trial_id: str, split: str, count: int) -> list[Output]:
        """See `Engine.outputs`."""
        items: list[Output] = self._call(trial_id, "outputs", split, count)
        return items

    def export(self, trial_id: str, which: str) -> dict[str, bytes]:
        """See `Engine.export`."""
        files: dict[str, bytes] = self._call(trial_id, "export", which)
        return files

    def engine_of(self, trial_id: str) -> str:
        """Name of the engine that holds a trial; empty if none does."""
        trial = self._trials.get(trial_id)
        return trial.member.settings.name if trial and trial.member else ""

    def stop(self, trial_id: str) -> None:
        """Forget a trial and free its slot; unknown ids are no error."""
        trial = self._trials.pop(trial_id, None)
        if trial is None:
            return
        if trial.handle is not None:
            import ray

            # The slot is free once the engine says so: a start that overtook the stop would find it taken.
            ray.wait([trial.handle.stop.remote(trial_id)], timeout=_STOP_S)
        self._free(trial)

    def close(self) -> None:
        """End every engine."""
        import ray

        for member in self._members:
            ray.kill(member.handle)

    def _call(self, trial_id: str, method: str, *args: Any) -> Any:
        trial = self._trials[trial_id]
        while True:
            try:
                return self._wait(getattr(trial.handle, method).remote(trial_id, *args))
            except _losses() as error:
                self._lost(trial, error)
                self._place(trial)

    def _place(self, trial: _Trial) -> None:
        while True:
            with self._lock:
                member = self._reserve(trial)
            try:
                self._wait(trial.handle.start.remote(trial.spec, trial.checkpoint))
            except _losses() as error:
                self._lost(trial, error)
            except BaseException:
                self._free(trial)
                raise
            else:
                log.info("trial %s runs on %s", trial.spec.trial_id, member.settings.name)
                return

    def _reserve(self, trial: _Trial) -> _Member:
        left = max(0, trial.samples - trial.seen)
        while True:
            if self._stopping.is_set():
                raise Stopped
            if self.broken is not None:
                raise self.broken
            ready = [member for member in self._members if member.info is not None and not member.dead]
            loads = [EngineLoad(len(m.owed), sum(m.owed.values()), 0.0) for m in ready]
            if len(ready) > 1:
                speeds = [self._speed(member) for member in ready]
                loads = [replace(load, samples_per_second=speed) for load, speed in zip(loads, speeds, strict=True)]
            index = choose([member.info for member in ready if member.info], loads, left)
            if index is not None:
                member = ready[index]
                member.owed[trial.spec.trial_id] = left
                trial.member, trial.handle = member, member.handle
                return member
            self._lock.wait(_POLL_S)

    def _speed(self, member: _Member) -> float:
        """Training rows a second, 0.0 for an engine that does not say: one that is coming up, or that is dead. Whoever
        is placed there next waits for it, or starts it again."""
        import ray

        asked = member.handle.load.remote()
        if not ray.wait([asked], timeout=_POLL_S)[0]:
            return 0.0
        try:
            load: EngineLoad = self._wait(asked)
        except _losses():
            return 0.0
        return load.samples_per_second

    def _free(self, trial: _Trial) -> None:
        with self._lock:
            if trial.member is not None:
                trial.member.owed.pop(trial.spec.trial_id, None)
            trial.member = trial.handle = None
            self._lock.notify_all()

    def _lost(self, trial: _Trial, error: Exception) -> None:
        """The engine of a trial died or broke. The first trial to notice starts another; the others only let go."""
        import ray

        member, handle = trial.member, trial.handle
        self._free(trial)
        if self._stopping.is_set():
            raise Stopped from error
        with self._lock:
            if member is None or member.handle is not handle or member.dead:
                return
            name = member.settings.name
            ray.kill(handle)  # one that broke still holds its device
            if member.restarts < _RESTARTS:
                member.restarts += 1
                log.warning("engine %s died (%s) and is started again", name, _short(error))
                fresh = replace(member.settings, name=f"{name}#{member.restarts + 1}")
                member.handle = start_actor(self._path, fresh, member.place)
            else:
                member.dead = True
                log.error("engine %s died again (%s) and stays down", name, _short(error))
                if all(each.dead for each in self._members):
                    self.broken = EngineError(f"every engine died; the last one, {name}: {_short(error)}.")

    def _wait(self, ref: Any, starting: str = "") -> Any:
        """What a call returns. Names the engine that is `starting` if that takes long: it may wait for others' work."""
        import ray
        from ray.exceptions import RayTaskError

        patience = time.monotonic() + _PATIENCE_S
        while True:
            if self._stopping.is_set():
                raise Stopped
            if ray.wait([ref], timeout=_POLL_S)[0]:
                break
            if starting and time.monotonic() >= patience:
                log.warning("%s is not up yet: it may wait for a core or a GPU that other work holds", starting)
                starting = ""
        try:
            return ray.get(ref)
        except RayTaskError as error:
            if isinstance(error.cause, EngineError) and not isinstance(error.cause, TrialError):
                raise _Broke from error.cause
            if isinstance(error.cause, TunerError):
                raise error.cause from None
            raise EngineError(f"an engine failed: {type(error.cause).__name__}: {error.cause}.") from error


def _losses() -> tuple[type[Exception], ...]:
    """What says that an engine is lost; the second, that its node is."""
    from ray.exceptions import ActorUnschedulableError, RayActorError

    return RayActorError, ActorUnschedulableError, _Broke


def _short(error: Exception) -> str:
    if isinstance(error, _Broke) and error.__cause__ is not None:
        return str(error.__cause__)
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
