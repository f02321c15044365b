"""LoraTrial: one trial as Ray Tune sees it. It imports no torch and trains nothing; it asks an engine to.

Tune names a trainable in its registry and hands it a config; what it shares with the driver, the pool of engines and
the study's folder, it finds by the study's key in `sharing`. A trial that starts looks for its newest checkpoint
first: a trial of a resumed study and one that Tune retries go on by the same way.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray import tune
from ray.air.constants import TIME_THIS_ITER_S
from ray.tune.result import TRIAL_ID

from tuner.engine.contract import Report, TrialSpec
from tuner.engine.pool import Pool, Stopped
from tuner.errors import StoreError, TrialError
from tuner.store.files import write_bytes
from tuner.study.folder import STATE, StudyFolder

log = logging.getLogger(__name__)

REPORT, ENGINE, SCORE, SAMPLES = "tuner_report", "engine", "score", "samples"
"""Names in the result that a trial gives to Tune: the Report, the engine's name, and the two numbers Tune may show."""


@dataclass(frozen=True)
class Shared:
    """What the trials of one study share with the driver. `train_rows` is how many rows one epoch has; `refused`
    is told what the disk said when a checkpoint could not be saved."""

    pool: Pool
    folder: StudyFolder
    train_rows: int
    refused: Callable[[StoreError], None]


_shared: dict[str, Shared] = {}


@contextlib.contextmanager
def sharing(key: str, shared: Shared) -> Iterator[None]:
    """Within this context trials whose config says `key` find `shared`."""
    _shared[key] = shared
    try:
        yield
    finally:
        del _shared[key]


class LoraTrial(tune.Trainable):  # type: ignore[misc,unused-ignore]
    """A trial. Its config: "study" (the key), "trial_id", "params", "seed"."""

    def setup(self, config: dict[str, Any]) -> None:
        """Take the configuration; the engine is chosen at the first step, when the trial really runs."""
        self._shared = _shared[config["study"]]
        self._spec = TrialSpec(config["trial_id"], config["params"], config["seed"])
        self._held = False
        self._newest: bytes | None = None

    def step(self) -> dict[str, Any]:
        """Train to the next report, keep its checkpoint on disk, and return both metrics and report. Tune runs a step
        that raised again, from the newest checkpoint, and says nothing of why."""
        try:
            return self._advance()
        except Stopped:
            raise
        except Exception as error:
            log.error("trial %s: %s", self._spec.trial_id, str(error) or type(error).__name__)
            log.info("trial %s raised", self._spec.trial_id, exc_info=True)
            raise

    def _advance(self) -> dict[str, Any]:
        pool, trial_id = self._shared.pool, self._spec.trial_id
        try:
            if not self._held:
                self._begin(self._newest or self._shared.folder.newest_checkpoint(trial_id))
            report, checkpoint = pool.advance(trial_id)
        except TrialError as error:
            report, checkpoint = Report(trial_id, 0, 0, True, {}, error.kind, str(error)), None
        score = report.metrics.get(SCORE, float("nan"))
        if checkpoint is not None:
            self._newest = checkpoint
            try:
                self._shared.folder.save_checkpoint(trial_id, report.index, score, checkpoint)
            except StoreError as error:
                self._shared.refused(error)
                raise
        done = report.done or report.status != "ok"
        engine = pool.engine_of(trial_id)
        if done:
            self.cleanup()
        return {REPORT: report, ENGINE: engine, SCORE: score, SAMPLES: report.samples, "done": done}

    def get_auto_filled_metrics(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Only what Tune needs: it keeps statistics of every number in a running trial's results, 1 kB each."""
        return {TRIAL_ID: self.trial_id, TIME_THIS_ITER_S: kwargs.get("time_this_iter")}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """For Tune's own checkpoints (pause, restore): the state of the last report."""
        if self._newest is not None:
            write_bytes(Path(checkpoint_dir) / STATE, self._newest)

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Go on from one of Tune's own checkpoints."""
        self.cleanup()
        path = Path(checkpoint) / STATE
        self._newest = path.read_bytes() if path.is_file() else None

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Become another trial: the thread is used again."""
        self.cleanup()
        self.setup(new_config)
        return True

    def cleanup(self) -> None:
        """Free the slot on the engine."""
        if self._held:
            self._shared.pool.stop(self._spec.trial_id)
            self._held = False

    def _begin(self, checkpoint: bytes | None) -> None:
        samples = round(float(self._spec.params.get("epochs", 1)) * self._shared.train_rows)
        self._held = True
        self._shared.pool.start(self._spec, samples, checkpoint)
