"""A study in one process, without Ray: the same search, one loop, deterministic for a seed.

Trials advance in lockstep, packed, in the order in which they were asked; so the sampler and ASHA see the same reports
in the same order every time. It is also the way to debug a study.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tuner.config import StudyConfig
from tuner.device import KINDS, kind_of_device, select_devices
from tuner.device_host import cores
from tuner.engine.actor import local_engine
from tuner.engine.contract import Engine, EngineInfo, EngineSettings, Report, TrialSpec
from tuner.engine.placement import MOST_TRIALS
from tuner.errors import StoreError, StudyError, TrialError
from tuner.store.outputs import Output
from tuner.study.folder import StudyFolder
from tuner.study.runner import Trained
from tuner.study.search import Search

log = logging.getLogger(__name__)


@dataclass
class _Local:
    engine: Engine
    info: EngineInfo
    trials: list[str] = field(default_factory=list)


class InProcess:
    """Runs trials on engines of this process. `stopping` is looked at between reports, `options` go to the engines."""

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
        self._engines: list[_Local] = []

    def start(self) -> list[EngineInfo]:
        """Make one engine a device."""
        cpu = KINDS[-1]
        # The CPU is always there; looking for other devices imports torch, which an engine may do without.
        asked = self._config.devices
        names = [cpu] if asked == [cpu] else [device.name for device in select_devices(asked, self._config.precision)]
        for name in names:
            most = MOST_TRIALS[kind_of_device(name)]
            settings = EngineSettings(self._config, name, cores(), most, f"engine:{name}", self._options)
            engine = local_engine(self._path, settings)
            self._engines.append(_Local(engine, engine.info()))
        return [each.info for each in self._engines]

    def search(self, search: Search) -> None:
        """Fill the engines, advance all trials by one report, and again."""
        while not self._stopping.is_set():
            self._fill(search, search.concurrent)
            running = [each for each in self._engines if each.trials]
            if not running:
                return
            for local in running:
                for report in local.engine.advance_all(local.trials):
                    self._keep(local.engine, report)
                    if not search.report(report, local.info.name):
                        self._drop(local, report.trial_id)
                if self._stopping.is_set():
                    break

    def train(
        self,
        specs: Sequence[TrialSpec],
        on_report: Callable[[Report], None],
        on_trained: Callable[[Trained], None],
    ) -> None:
        """Train each to its end, as many at once as the engines take."""
        queue = list(specs)
        by_id = {spec.trial_id: spec for spec in specs}
        best: dict[str, Report] = {}
        while not self._stopping.is_set():
            for local in self._engines:
                while queue and len(local.trials) < local.info.max_pack:
                    spec = queue.pop(0)
                    local.engine.start(spec)
                    local.trials.append(spec.trial_id)
            running = [each for each in self._engines if each.trials]
            if not running:
                return
            for local in running:
                for report in local.engine.advance_all(local.trials):
                    if report.status != "ok":
                        log.warning("%s failed: %s %s", report.trial_id, report.status, report.message)
                        self._drop(local, report.trial_id)
                        continue
                    on_report(report)
                    best[report.trial_id] = better(best.get(report.trial_id), report)
                    if report.done:
                        spec = by_id[report.trial_id]
                        test = local.engine.evaluate(report.trial_id, "test")
                        state = local.engine.checkpoint(report.trial_id)
                        self._drop(local, report.trial_id)
                        on_trained(Trained(spec, best[report.trial_id], test, state))

    def export(self, spec: TrialSpec, checkpoint: bytes) -> dict[str, bytes]:
        """See `Runner.export`."""
        with self._holding(spec, checkpoint) as engine:
            return engine.export(spec.trial_id, "best")

    def outputs(self, spec: TrialSpec, checkpoint: bytes, split: str, count: int) -> list[Output]:
        """See `Runner.outputs`."""
        with self._holding(spec, checkpoint) as engine:
            return engine.outputs(spec.trial_id, split, count)

    def close(self) -> None:
        """End the engines."""
        for local in self._engines:
            local.engine.close()

    def _fill(self, search: Search, most: int) -> None:
        for local in self._free(most):
            spec = search.next()
            if spec is None:
                return
            try:
                local.engine.start(spec, self._folder.newest_checkpoint(spec.trial_id))
            except (TrialError, StoreError) as error:
                search.fail(spec.trial_id, f"{getattr(error, 'kind', 'failed')}: {error}")
                continue
            local.trials.append(spec.trial_id)

    def _free(self, most: int) -> Iterator[_Local]:
        """An engine for every slot that is free, the emptiest first."""
        while sum(len(each.trials) for each in self._engines) < most:
            local = min(self._engines, key=lambda each: len(each.trials) / each.info.max_pack)
            if len(local.trials) >= local.info.max_pack:
                return
            yield local

    def _keep(self, engine: Engine, report: Report) -> None:
        if report.status == "ok":
            score = report.metrics.get("score", float("nan"))
            self._folder.save_checkpoint(report.trial_id, report.index, score, engine.checkpoint(report.trial_id))

    @contextlib.contextmanager
    def _holding(self, spec: TrialSpec, checkpoint: bytes) -> Iterator[Engine]:
        engine = self._engines[0].engine
        engine.start(spec, checkpoint)
        try:
            yield engine
        finally:
            engine.stop(spec.trial_id)

    def _drop(self, local: _Local, trial_id: str) -> None:
        local.engine.stop(trial_id)
        local.trials.remove(trial_id)


def better(best: Report | None, report: Report) -> Report:
    """The one with the higher score. Raises StudyError for a report that should have one and does not."""
    if "score" not in report.metrics:
        raise StudyError(f"trial {report.trial_id} reported no score; its task must give one.")
    return report if best is None or report.metrics["score"] > best.metrics["score"] else best
