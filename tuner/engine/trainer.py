"""DeviceEngine: continuous packing on one device, behind one training thread.

Callers of `advance` wait; the thread takes one step of every trial that is being asked for, again and again.
Trials join and leave between any two steps, as requests do in a serving engine. Everything else that touches the
model (starting, evaluating, checkpointing) is queued to the same thread and runs between two steps. Works alike in
process and inside an actor.
"""

from __future__ import annotations

import tempfile
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

from tuner import tasks
from tuner.device import memory_used_mb, select_devices, set_threads
from tuner.engine.contract import EngineInfo, EngineLoad, EngineSettings, Report, TrialSpec
from tuner.engine.measure import Measured, measure
from tuner.engine.packing import Packing
from tuner.errors import EngineError, TrialError
from tuner.store.outputs import Output

Result = TypeVar("Result")


class DeviceEngine:
    """Implements `Engine`. Loads task and base in the training thread; the constructor returns when they are there.

    `settings.options["prepared"]` may hold the task's `Prepared`, so that a cluster's nodes need not see the data's
    files. Raises BaseModelError, DataError, DeviceError.
    """

    def __init__(self, settings: EngineSettings) -> None:
        self.settings = settings
        self._wake = threading.Condition()
        self._calls: deque[tuple[Callable[[], Any], Future[Any]]] = deque()
        self._asked: dict[str, Future[Report]] = {}
        self._closed = False
        self._load = EngineLoad(0, 0, 0.0)
        ready: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, args=(ready,), name=settings.name, daemon=True)
        self._thread.start()
        ready.result()

    def info(self) -> EngineInfo:
        """Where it runs and what it measured so far. Answers at once, also while training."""
        packing, settings = self._packing, self.settings
        return EngineInfo(
            name=settings.name,
            device=packing.device.name,
            dtype=packing.device.dtype_name,
            max_pack=settings.max_pack,
            samples_per_second=packing.rows_per_second,
            base_memory_mb=self._base_memory_mb,
            train_rows=packing.task.train_rows,
            notes=(packing.device.reason, *packing.task.notes),
        )

    def load(self) -> EngineLoad:
        """How busy it is, as of the last step."""
        return self._load

    def start(self, spec: TrialSpec, checkpoint: bytes | None = None) -> None:
        """Take a trial in."""
        self._call(lambda: self._packing.start(spec, checkpoint))

    def advance(self, trial_id: str) -> Report:
        """Train to the next report, together with all who ask at the same time."""
        future: Future[Report] = Future()
        with self._wake:
            self._refuse_if_closed()
            if trial_id in self._asked:
                raise TrialError("failed", f"trial {trial_id} is being advanced already")
            self._asked[trial_id] = future
            self._wake.notify()
        return future.result()

    def advance_all(self, trial_ids: Sequence[str]) -> list[Report]:
        """Train these trials, packed, each to its next report."""

        def together() -> list[Report]:
            left = list(trial_ids)
            reports: dict[str, Report] = {}
            while left:
                self._refuse_if_closed()
                reports.update((report.trial_id, report) for report in self._packing.advance(left))
                left = [trial_id for trial_id in left if trial_id not in reports]
                self._note_load()
            return [reports[trial_id] for trial_id in trial_ids]

        return self._call(together)

    def checkpoint(self, trial_id: str) -> bytes:
        """The trial's state as a safetensors file."""
        return self._call(lambda: self._packing.checkpoint(trial_id))

    def evaluate(self, trial_id: str, split: str) -> dict[str, float]:
        """Metrics of the trial's best adapter on a split."""
        return self._call(lambda: self._packing.evaluate(trial_id, split))

    def outputs(self, trial_id: str, split: str, count: int) -> list[Output]:
        """What the trial's best adapter answers to the first `count` rows of a split."""
        return self._call(lambda: self._packing.outputs(trial_id, split, count))

    def export(self, trial_id: str, which: str = "best") -> dict[str, bytes]:
        """The adapter of the trial's "best" or "last" report as the files of a folder, by their place in it."""

        def files() -> dict[str, bytes]:
            tensors, params = self._packing.adapter(trial_id, which)
            with tempfile.TemporaryDirectory() as folder:
                self._packing.task.save(Path(folder), tensors, params)
                files = sorted(path for path in Path(folder).rglob("*") if path.is_file())
                return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}

        return self._call(files)

    def measure(self, specs: Sequence[TrialSpec]) -> Measured:
        """Train a few steps of these trials, alone and packed, and evaluate them once, on an engine that holds no
        others."""

        def run() -> Measured:
            found = measure(self._packing, specs, self._base_memory_mb)
            self._note_load()
            return found

        return self._call(run)

    def stop(self, trial_id: str) -> None:
        """Forget a trial."""
        self._call(lambda: self._packing.stop(trial_id))

    def close(self) -> None:
        """End the training thread; whoever waits gets an EngineError."""
        with self._wake:
            self._closed = True
            self._wake.notify()
        self._thread.join()

    def _call(self, work: Callable[[], Result]) -> Result:
        """Run `work` on the training thread, between two steps."""
        future: Future[Result] = Future()
        with self._wake:
            self._refuse_if_closed()
            self._calls.append((work, future))
            self._wake.notify()
        return future.result()

    def _refuse_if_closed(self) -> None:
        if self._closed:
            raise EngineError(f"{self.settings.name} is closed")

    def _run(self, ready: Future[None]) -> None:
        try:
            self._packing = self._build()
        except BaseException as error:
            ready.set_exception(error)
            return
        ready.set_result(None)
        failure: BaseException = EngineError(f"{self.settings.name} is closed")
        try:
            while self._turn():
                pass
        except BaseException as error:
            failure = EngineError(f"{self.settings.name} broke: {type(error).__name__}: {error}")
            failure.__cause__ = error
        with self._wake:
            self._closed = True
            waiting: list[Future[Any]] = [future for _, future in self._calls] + list(self._asked.values())
            self._calls.clear()
            self._asked.clear()
        for future in waiting:
            future.set_exception(failure)

    def _build(self) -> Packing:
        settings = self.settings
        config = settings.config
        device = select_devices([settings.device], config.precision)[0]
        if device.kind == "cpu":
            set_threads(settings.threads)
        spec = tasks.spec(config.task)
        prepared = settings.options.get("prepared") or spec.prepare(config)
        spec = spec.for_rows(prepared.summary)
        task = spec.load(config, device, prepared)
        self._base_memory_mb = memory_used_mb(device)
        return Packing(task, spec, config, device, settings.max_pack)

    def _turn(self) -> bool:
        """Serve what was queued, then one step for all who wait. False when closed."""
        with self._wake:
            while not (self._calls or self._asked or self._closed):
                self._wake.wait()
            if self._closed:
                return False
            calls = list(self._calls)
            self._calls.clear()
            asked = dict(self._asked)
        for work, future in calls:
            try:
                future.set_result(work())
            except Exception as error:
                future.set_exception(error)
        known = [trial_id for trial_id in asked if trial_id in self._packing.trials]
        for trial_id in asked.keys() - set(known):
            self._answer(trial_id, None)
        if known:
            for report in self._packing.advance(known):
                self._answer(report.trial_id, report)
        self._note_load()
        return True

    def _answer(self, trial_id: str, report: Report | None) -> None:
        with self._wake:
            future = self._asked.pop(trial_id)
        if report is None:
            future.set_exception(TrialError("failed", f"{self.settings.name} does not hold trial {trial_id}"))
        else:
            future.set_result(report)

    def _note_load(self) -> None:
        packing = self._packing
        self._load = EngineLoad(len(packing.trials), packing.samples_left(), packing.rows_per_second)
