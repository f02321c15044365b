"""A study from config to winner: checks, engines, search, re-runs of the top k, export of the best adapter and of
what it answers to held-out rows.

The same function runs it on Ray and in process; only who runs the trials differs. Whatever happens, the record is
saved and the checkpoints stay, so that `--resume` goes on.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import logging
import platform
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tuner import tasks
from tuner.config import StudyConfig
from tuner.config_file import config_to_yaml
from tuner.device import kind_of_device
from tuner.engine.actor import DEVICE_ENGINE
from tuner.engine.contract import TrialSpec
from tuner.engine.placement import BUSY_TRIALS
from tuner.engine.pool import Stopped
from tuner.errors import StudyError, TunerError
from tuner.score_benchmark import configured
from tuner.store.files import write_text
from tuner.store.outputs import Outputs, write_outputs
from tuner.store.records import COMPLETE, FAILED, INTERRUPTED, StudyRecord
from tuner.study.folder import StudyFolder
from tuner.study.interrupt import interruptible
from tuner.study.judge import check_judge, judged
from tuner.study.launch import reserved, study_name
from tuner.study.observer import Observer, Watched
from tuner.study.recorder import Recorder
from tuner.study.rerun import choose_winner, rerun
from tuner.study.resume import check_data, resumed
from tuner.study.runner import Runner
from tuner.study.search import Search
from tuner.study.space import Space
from tuner.tasks.task import Prepared, TaskSpec

log = logging.getLogger(__name__)

_PACKAGES = ("lora-tuner", "ray", "optuna", "torch", "transformers", "peft")


def run_study(
    config: StudyConfig,
    *,
    in_process: bool = False,
    engine: str = DEVICE_ENGINE,
    resume: bool = False,
    observer: Observer | None = None,
    command: str = "",
) -> StudyRecord:
    """Run a study to its end and return its record, which is also saved as results/<name>/study.json.

    On Ray by default (see `cluster/connect.py`); `in_process` runs the same search in one loop, without Ray, the same
    every time. `engine` is the engine's class, "module:Class". `resume` goes on with the study that `config.name`
    names. `command` reproduces the study, for the record.

    Ctrl-C and SIGTERM end it cleanly: the record that is returned has state "interrupted". Raises ConfigError,
    DataError, BaseModelError, DeviceError before anything is trained; StudyError if it cannot start, resume or end;
    EngineError if all engines died, StoreError if the disk refuses: then what was done is kept, and `resume` goes on.
    """
    spec = tasks.spec(config.task)
    configured(spec.judged_by, config)  # names that the task does not have are refused before anything starts
    check_judge(spec, config.judge)
    now = time.time()
    config = config.model_copy(update={"name": study_name(config, now)})
    folder = StudyFolder(config.results / str(config.name))
    space = Space(config.space, spec.hyperparameters)
    if resume:
        record = resumed(config, folder, space, spec.hyperparameters)
    else:
        record = StudyRecord(
            str(config.name), config.task, config.base_model, config.model_dump(mode="json"), command, created=now
        )
    stopping = threading.Event()
    with reserved(folder, resume), _logging_to(folder.logs), interruptible(stopping):
        prepared = spec.prepare(config)
        if resume:
            check_data(record, prepared.summary)
        for warning in prepared.warnings:
            log.warning("%s", warning)
        # Ray brings a handler of its own for SIGTERM, which prints a stack: ours goes in again behind it
        with _runner(config, engine, folder, stopping, prepared, in_process) as runner, interruptible(stopping):
            judged = spec.for_rows(prepared.summary)
            return _Run(config, judged, space, folder, runner, stopping).run(record, prepared, Watched(observer))


class _Run:
    """One run of a study: the order of its phases, and what state each way of ending leaves."""

    def __init__(
        self,
        config: StudyConfig,
        spec: TaskSpec,
        space: Space,
        folder: StudyFolder,
        runner: Runner,
        stopping: threading.Event,
    ) -> None:
        self._config = config
        self._spec = spec
        self._space = space
        self._folder = folder
        self._runner = runner
        self._stopping = stopping
        self._search: Search | None = None

    def run(self, record: StudyRecord, prepared: Prepared, watched: Watched) -> StudyRecord:
        try:
            infos = self._runner.start()
        except Stopped:
            infos = []
        recorder = Recorder(self._folder, record, watched)
        recorder.update(
            data={**prepared.summary, "warnings": list(prepared.warnings)},
            engines=tuple({**asdict(info), "notes": list(info.notes)} for info in infos),
            versions=_versions(),
        )
        write_text(self._folder.path / "config.yaml", config_to_yaml(self._config))
        rows, capacity = infos[0].train_rows if infos else 0, sum(info.max_pack for info in infos)
        busy = sum(BUSY_TRIALS[kind_of_device(info.device)] for info in infos)
        search = self._search = Search(self._config, self._space, recorder, rows, capacity, busy)
        recorder.open(lambda: search.asha.to_json() if search.asha else {})
        try:
            state = self._phases(recorder, search) if infos else INTERRUPTED
        except (Stopped, KeyboardInterrupt):
            self._stopping.set()
            state = INTERRUPTED
        except BaseException:
            search.interrupt()
            recorder.update(state=FAILED, finished=time.time())
            with contextlib.suppress(TunerError):  # the first error is the one to show
                recorder.close()
            watched.tell("on_end", recorder.snapshot())
            raise
        search.interrupt()
        recorder.update(state=state, finished=time.time())
        final = recorder.close()
        log.info("the study is %s", state)
        watched.tell("on_end", final)
        return final

    def _phases(self, recorder: Recorder, search: Search) -> str:
        """Search, re-run, export. Returns the study's state."""
        recorder.watched.tell("on_start", recorder.snapshot())
        for engine in recorder.snapshot().engines:
            log.info("engine %s: %s", engine["name"], engine)
        recorder.phase("search")
        self._runner.search(search)
        recorder.check()
        if self._stopping.is_set():
            return INTERRUPTED
        recorder.phase("rerun")
        rerun(self._config, recorder, self._runner)
        recorder.check()
        if self._stopping.is_set():
            return INTERRUPTED
        recorder.phase("export")
        winner, best = choose_winner(self._config, self._spec, recorder.trials(), recorder.snapshot().reruns)
        state = self._folder.rerun(best.trial_id, best.seed)
        if state is None:
            raise StudyError(f"the state of trial {best.trial_id}, seed {best.seed}, is gone from {self._folder.path}.")
        kept = TrialSpec(f"{best.trial_id}-best", winner.params, best.seed)
        self._folder.write_adapter(self._runner.export(kept, state))
        recorder.update(winner=winner)
        self._write_outputs(best.trial_id, kept, state, recorder.snapshot().data)
        return COMPLETE

    def _write_outputs(self, trial_id: str, kept: TrialSpec, state: bytes, data: Mapping[str, Any]) -> None:
        """Save what the kept adapter answers to held-out rows. A study that cannot is complete without them: its
        adapter is on disk."""
        try:
            split = _held_out(data)
            items = self._runner.outputs(kept, state, split, self._config.benchmark.items)
            items = judged(items, self._config.judge, self._stopping)
            write_outputs(self._folder.path, Outputs(trial_id, split, tuple(items)))
        except Stopped:
            raise
        except Exception as error:
            why = str(error) if isinstance(error, TunerError) else f"{type(error).__name__}: {error}"
            log.warning("what the best adapter answers to held-out rows was not saved: %s", why)


def _held_out(data: Mapping[str, Any]) -> str:
    """The split to show answers on: "test", on which no choice was made, if it has rows, else "validation"."""
    return "test" if data.get("splits", {}).get("test", {}).get("total_samples") else "validation"


@contextlib.contextmanager
def _runner(
    config: StudyConfig,
    engine: str,
    folder: StudyFolder,
    stopping: threading.Event,
    prepared: Prepared,
    in_process: bool,
) -> Iterator[Runner]:
    options = {"prepared": prepared}
    with contextlib.ExitStack() as stack:
        runner: Runner
        if in_process:
            from tuner.study.in_process import InProcess

            runner = InProcess(config, engine, folder, stopping, options)
        else:
            from cluster.connect import connected

            stack.enter_context(connected())
            from tuner.study.on_ray import OnRay

            runner = OnRay(config, engine, folder, stopping, options)
        stack.callback(runner.close)
        yield runner


@contextlib.contextmanager
def _logging_to(path: Path) -> Iterator[None]:
    """What the tuner logs goes to the study's logs.txt; warnings and worse still reach the terminal's handlers."""
    handler = logging.FileHandler(path, encoding="utf-8", delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger = logging.getLogger("tuner")
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)
        handler.close()


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found
