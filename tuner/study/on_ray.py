"""A study on Ray: engines as actors, trials as thin Trainables under `Tuner.fit()`.

Tune keeps its own state in a folder that is thrown away at the end: the study's record, its checkpoints and rungs.json
are what a study goes on from (`Tuner.restore` loses ASHA's rungs and goes on from its last snapshot, not the newest
checkpoint).
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import ray

from tuner.config import StudyConfig
from tuner.device import KINDS
from tuner.engine.contract import EngineInfo, EngineSettings, Report, TrialSpec
from tuner.engine.placement import place_engines
from tuner.engine.pool import Pool, Stopped
from tuner.errors import DeviceError, EngineError, TunerError
from tuner.store.outputs import Output
from tuner.study.database import warm_up
from tuner.study.folder import StudyFolder
from tuner.study.heap import return_large_buffers
from tuner.study.in_process import better
from tuner.study.runner import Trained
from tuner.study.search import Search

log = logging.getLogger(__name__)

_RETRIES = 2
_CPU = KINDS[-1]
_TUNE_ENVIRONMENT = {
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # trials share this process, and its working directory is the user's
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # the study writes its own files
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # study.py has its own, which also hears SIGTERM
    "TUNE_GLOBAL_CHECKPOINT_S": str(10**9),  # Tune's snapshots are not what a study goes on from
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",  # a trial writes its own to logs.txt
    "TUNE_WARN_INSUFFICENT_RESOURCE_THRESHOLD_S": "0",  # trials ask Ray for nothing
    "RAY_AIR_NEW_OUTPUT": "0",
}


class OnRay:
    """Runs trials on engines that are Ray actors. Ray must be connected. `options` go to the engines."""

    def __init__(
        self,
        config: StudyConfig,
        engine: str,
        folder: StudyFolder,
        stopping: threading.Event,
        options: Mapping[str, Any],
    ) -> None:
        self._config = config
        self._path = engine
        self._folder = folder
        self._stopping = stopping
        self._options = options
        self._name = folder.path.name
        self._pool: Pool | None = None
        self._infos: list[EngineInfo] = []

    def start(self) -> list[EngineInfo]:
        """Start an actor a device; while they import torch and load the base, this process imports Ray Tune.

        Ray counts a GPU that torch cannot use, for want of its driver or of a build of torch for it: where the config
        leaves the choice, the CPU is taken then."""
        return_large_buffers()
        self._pool, kinds = self._engines(self._config.devices)
        with _environment(_TUNE_ENVIRONMENT):
            import tuner.study.host
            import tuner.study.tune_search  # noqa: F401
        warm_up()
        try:
            self._infos = self._pool.infos()
        except DeviceError as error:
            if self._config.devices != "auto" or kinds == {_CPU}:
                raise
            log.warning("torch cannot use what Ray counts, so the study runs on the CPU. %s", error)
            self._pool.close()
            self._pool, _ = self._engines([_CPU])
            self._infos = self._pool.infos()
        return self._infos

    def _engines(self, wanted: Sequence[str] | str) -> tuple[Pool, set[str]]:
        """Actors that come up, and the kinds of their devices."""
        places = place_engines(wanted, _nodes(), self._config.search.concurrent)
        labels = [place.label for place in places]
        settings = []
        for index, place in enumerate(places):
            # Nodes have a device of the same name each; actors' names must differ.
            number = f"-{labels[:index].count(place.label) + 1}" if labels.count(place.label) > 1 else ""
            name = f"engine:{place.label}{number}:{self._name}"
            settings.append(
                EngineSettings(self._config, place.device.name, place.threads, place.max_pack, name, self._options)
            )
        return Pool(self._path, settings, places, self._stopping), {place.device.kind for place in places}

    def search(self, search: Search) -> None:
        """Run `Tuner.fit()` over the search."""
        from ray import tune

        from tuner.study.host import hosted
        from tuner.study.trial import LoraTrial, Shared, sharing
        from tuner.study.tune_search import NoProgress, TuneScheduler, TuneSearcher, WhenStopped

        pool = self._up()
        if search.remaining == 0:
            return
        key = f"{self._name}-{uuid.uuid4().hex[:8]}"
        shared = Shared(pool, self._folder, self._infos[0].train_rows, search.refused)
        with (
            _environment(_TUNE_ENVIRONMENT),
            _level("ray.tune", logging.ERROR),
            tempfile.TemporaryDirectory(prefix="tuner-") as storage,
            sharing(key, shared),
            hosted(),
        ):
            tune.Tuner(
                LoraTrial,
                tune_config=tune.TuneConfig(
                    search_alg=TuneSearcher(search, key),
                    scheduler=TuneScheduler(search),
                    num_samples=search.remaining,
                    max_concurrent_trials=search.concurrent,
                    reuse_actors=True,
                ),
                run_config=tune.RunConfig(
                    name="trials",
                    storage_path=storage,
                    verbose=0,
                    callbacks=[NoProgress()],
                    stop=WhenStopped(lambda: self._stopping.is_set() or pool.broken is not None or search.unsaved),
                    failure_config=tune.FailureConfig(max_failures=_RETRIES),
                    checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=0, checkpoint_at_end=False),
                ),
            ).fit()
        if pool.broken is not None:
            raise pool.broken

    def train(
        self,
        specs: Sequence[TrialSpec],
        on_report: Callable[[Report], None],
        on_trained: Callable[[Trained], None],
    ) -> None:
        """A thread for each that a slot is free for; callbacks are called from the caller's thread."""
        with ThreadPoolExecutor(max_workers=sum(info.max_pack for info in self._infos)) as threads:
            events: queue.SimpleQueue[Report | Future[Trained | None]] = queue.SimpleQueue()
            for spec in specs:
                threads.submit(self._train_one, spec, events.put).add_done_callback(events.put)
            left = len(specs)
            while left:
                event = events.get()
                if isinstance(event, Report):
                    on_report(event)
                    continue
                left -= 1
                with contextlib.suppress(Stopped):
                    if (trained := event.result()) is not None:
                        on_trained(trained)

    def export(self, spec: TrialSpec, checkpoint: bytes) -> dict[str, bytes]:
        """See `Runner.export`."""
        with self._holding(spec, checkpoint) as pool:
            return pool.export(spec.trial_id, "best")

    def outputs(self, spec: TrialSpec, checkpoint: bytes, split: str, count: int) -> list[Output]:
        """See `Runner.outputs`."""
        with self._holding(spec, checkpoint) as pool:
            return pool.outputs(spec.trial_id, split, count)

    def close(self) -> None:
        """End the engines' actors."""
        if self._pool is not None:
            self._pool.close()

    def _up(self) -> Pool:
        if self._pool is None:
            raise EngineError("the engines were not started.")
        return self._pool

    def _samples(self, spec: TrialSpec) -> int:
        return round(float(spec.params.get("epochs", 1)) * self._infos[0].train_rows)

    def _train_one(self, spec: TrialSpec, on_report: Callable[[Report], None]) -> Trained | None:
        pool = self._up()
        best: Report | None = None
        try:
            pool.start(spec, self._samples(spec))
            while True:
                report, checkpoint = pool.advance(spec.trial_id)
                if report.status != "ok":
                    log.warning("%s failed: %s %s", spec.trial_id, report.status, report.message)
                    return None
                on_report(report)
                best = better(best, report)
                if report.done:
                    test = pool.evaluate(spec.trial_id, "test")
                    return Trained(spec, best, test, checkpoint or b"")
        except TunerError as error:
            if pool.broken is not None:
                raise
            log.warning("%s failed: %s", spec.trial_id, error)
            return None
        finally:
            pool.stop(spec.trial_id)

    @contextlib.contextmanager
    def _holding(self, spec: TrialSpec, checkpoint: bytes) -> Iterator[Pool]:
        pool = self._up()
        pool.start(spec, 0, checkpoint)
        try:
            yield pool
        finally:
            pool.stop(spec.trial_id)


def _nodes() -> list[dict[str, Any]]:
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call,unused-ignore]
    return nodes


@contextlib.contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextlib.contextmanager
def _level(name: str, level: int) -> Iterator[None]:
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(level)
    try:
        yield
    finally:
        logger.setLevel(before)
