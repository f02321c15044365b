"""TensorBoard logs of a study: each trial's scalars over the training rows it has seen, the HPARAMS tab for all, and
the pictures of the winner's outputs.

One background thread encodes and writes everything, so that a report costs the study no more than a queue entry. An
observer of a study that knows nothing of Ray or of files' format (`report/events.py`). A disk that refuses ends the
logging with one warning, never the study.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from pathlib import Path

from tuner.engine.contract import Report
from tuner.errors import StoreError
from tuner.report.events import RunFiles
from tuner.store.outputs import Output
from tuner.store.records import StudyRecord, TrialRecord

_LOG = logging.getLogger(__name__)
FLUSH_S = 1.0
BEST_TAG = "score/best"
OUTPUTS_RUN = "winner"
OUTPUTS_TAG = "outputs"
# columns of the HPARAMS tab
_COMPARED = ("score", "score_quality", "score_preservation", "score_efficiency", "loss")

# What an engine reports, by the group under which TensorBoard shows it. A name that is not here is a metric of the task
# on its validation rows; a name that holds a slash has its group already.
_TAGS = {
    "score": "score/overall",
    "loss": "train/loss",
    "gradient_norm": "train/gradient_norm",
    "learning_rate": "train/learning_rate",
    "epoch": "train/epoch",
    "step": "train/step",
    "tokens_seen": "train/tokens_seen",
    "stopped_early": "train/stopped_early",
    "response_seconds": "speed/response_seconds",
    "predict_runtime": "speed/predict_runtime",
    "predict_samples_per_second": "speed/predict_samples_per_second",
    "predict_steps_per_second": "speed/predict_steps_per_second",
    "predict_model_preparation_time": "speed/predict_model_preparation_time",
    "samples_per_second": "speed/samples_per_second",
    "tokens_per_second": "speed/tokens_per_second",
    "train_seconds": "speed/train_seconds",
    "cpu_percent": "performance/cpu_percent",
    "memory_mb": "performance/memory_mb",
    "device_memory_mb": "performance/device_memory_mb",
    "engine_samples_per_second": "performance/engine_samples_per_second",
    "engine_tokens_per_second": "performance/engine_tokens_per_second",
    "adapter_mb": "size/adapter_mb",
}
_HOW_IT_WENT = ("train", "speed", "performance")
_PREFIXES = {"train_": "train/", "score_": "score/", "validation_": "validation/"}


def tag_of(metric: str) -> str:
    """The TensorBoard tag of a metric: group/name."""
    if "/" in metric:
        return metric
    if metric in _TAGS:
        return _TAGS[metric]
    for prefix, group in _PREFIXES.items():
        if metric.startswith(prefix):
            return group + metric.removeprefix(prefix)
    return f"validation/{metric}"


def is_measure(metric: str) -> bool:
    """Whether a metric says how good an adapter is, rather than how its training went."""
    return metric not in ("samples", "time") and tag_of(metric).partition("/")[0] not in _HOW_IT_WENT


class TensorBoardObserver:
    """Writes what a study does into `folder`, which lies in the study's own: one run a trial, named by its id, with
    training rows seen as the step.

    An observer of a study: its methods return at once and may be called from any thread. `on_end` waits for the disk.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._queue: queue.SimpleQueue[Callable[[RunFiles], None] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def on_start(self, record: StudyRecord) -> None:
        """Tell the HPARAMS tab which hyperparameters and metrics there are."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._write_all, name="tensorboard", daemon=True)
            self._thread.start()
        metrics = {BEST_TAG: "best score", **{tag_of(name): name for name in _COMPARED}}
        self._queue.put(lambda files: files.experiment(record, metrics))

    def on_report(self, trial: TrialRecord, report: Report) -> None:
        """One more point on every curve of a trial."""
        wall, best = time.time(), trial.score

        def write(files: RunFiles) -> None:
            files.session_start(trial, wall)
            scalars = {tag_of(name): value for name, value in report.metrics.items() if name != "samples"}
            if best is not None:
                # The HPARAMS tab shows a tag's last value, which for a score is not always its best.
                scalars[BEST_TAG] = best
            files.scalars(trial.trial_id, wall, report.samples, scalars)

        self._queue.put(write)

    def on_trial_end(self, trial: TrialRecord) -> None:
        """The trial's place in the HPARAMS tab is final."""
        wall = time.time()

        def write(files: RunFiles) -> None:
            files.session_start(trial, wall)
            files.session_end(trial, wall)

        self._queue.put(write)

    def on_phase(self, phase: str) -> None:
        """Phases leave no mark in TensorBoard."""

    def on_end(self, record: StudyRecord) -> None:
        """Add the test metrics of the re-runs, each in its own run, and the pictures of the winner's outputs; finish
        writing."""
        if self._thread is None:
            return
        wall = time.time()

        def write(files: RunFiles) -> None:
            for rerun in record.reruns:
                # A re-run reports like a trial, as "<trial>-seed-<seed>"; its test metrics are known only now.
                test = {
                    f"test/{name.removeprefix('test_')}": value
                    for name, value in rerun.test.items()
                    if name != "samples"
                }
                samples = int(rerun.validation.get("samples") or 0)
                files.scalars(f"{rerun.trial_id}-seed-{rerun.seed}", wall, samples, test)

        self._queue.put(write)
        if record.winner is not None:
            self._queue.put(lambda files: _pictures(files, self.folder.parent, wall))
        self._queue.put(None)
        self._thread.join()
        self._thread = None

    def _write_all(self) -> None:
        """The background thread: gather what comes within a second, then append it to the runs' files."""
        files = RunFiles(self.folder)
        failed = False
        running = True
        while running:
            items = [self._queue.get()]
            deadline = time.monotonic() + FLUSH_S
            while items[-1] is not None and (left := deadline - time.monotonic()) > 0:
                try:
                    items.append(self._queue.get(timeout=left))
                except queue.Empty:
                    break
            running = items[-1] is not None
            if failed:
                continue
            try:
                for write in items:
                    if write is not None:
                        write(files)
                files.flush()
            except OSError as error:
                failed = True
                _LOG.warning("cannot write TensorBoard logs in %s: %s. The study goes on.", self.folder, error.strerror)


def _pictures(files: RunFiles, study: Path, wall: float) -> None:
    """Each output's reference, base and tuned side by side, and the first ones on one sheet. Outputs that cannot be
    read are left out. Raises OSError when the disk refuses."""
    from tuner.data.image_shown import png
    from tuner.report.contact_sheet import ITEMS, contact_sheet, pictured, side_by_side

    first: list[Output] = []
    try:
        for item in pictured(study):
            strip = side_by_side(item.pictures)
            files.picture(OUTPUTS_RUN, wall, f"{OUTPUTS_TAG}/{item.name}", png(strip), strip.size, item.input)
            files.flush()  # there may be more of them than memory holds
            if len(first) < ITEMS:
                first.append(item)
    except StoreError as error:
        _LOG.warning("the pictures of the outputs are not in TensorBoard: %s", error)
    if first:
        sheet = contact_sheet(first)
        files.picture(OUTPUTS_RUN, wall, f"{OUTPUTS_TAG}/all", png(sheet), sheet.size, "reference, base, tuned")
