"""The adapter of any trial, made from what the study kept of it: the winner's alone lies ready.

A trial that was trained again from fresh seeds gives the re-run with the best validation score, as the winner does; any
other one the best report of its search. The study's own base and rows are loaded for it, which an engine needs to put
a state where it belongs; nothing is trained, and the study's folder stays as it is.
"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuner import tasks
from tuner.config import StudyConfig
from tuner.device import KINDS, select_devices
from tuner.engine.actor import DEVICE_ENGINE
from tuner.engine.contract import TrialSpec
from tuner.errors import StoreError, StudyError
from tuner.store.files import write_bytes
from tuner.store.records import FAILED, RUNNING, StudyRecord, TrialRecord
from tuner.study.folder import StudyFolder
from tuner.study.in_process import InProcess
from tuner.study.rerun import mean_metrics
from tuner.study.resume import changed_rows


@dataclass(frozen=True)
class Kept:
    """What a study kept of a trial: its configuration with the seed, its state, and the validation metrics of the
    adapter in it; those of a trial that was trained again are the means over its seeds."""

    spec: TrialSpec
    state: bytes
    metrics: Mapping[str, float]


def kept(folder: Path, record: StudyRecord, trial_id: str) -> Kept:
    """What lies in a study's folder of one of its trials. Raises StudyError for a trial that is unknown, has failed, is
    still training or has left no state, StoreError for a state that cannot be read."""
    trial = next((each for each in record.trials if each.trial_id == trial_id), None)
    if trial is None:
        raise StudyError(f"study {record.name} has no trial {trial_id}.")
    if trial.state == FAILED:
        raise StudyError(f"trial {trial_id} of study {record.name} has failed ({trial.message}): it has no adapter.")
    if trial.state == RUNNING:
        raise StudyError(
            f"trial {trial_id} of study {record.name} has not ended. Wait for it; if the study stopped, "
            f"`tuner tune --resume {record.name}` goes on."
        )
    try:
        found = _rerun(StudyFolder(folder), record, trial) or _searched(StudyFolder(folder), trial)
    except OSError as error:
        raise StoreError(f"the state of trial {trial_id} in {folder} cannot be read: {error}.") from error
    if found is None:
        raise StudyError(f"of trial {trial_id} of study {record.name} no checkpoint is left, so it has no adapter.")
    return found


def _rerun(folder: StudyFolder, record: StudyRecord, trial: TrialRecord) -> Kept | None:
    runs = [each for each in record.reruns if each.trial_id == trial.trial_id]
    for run in sorted(runs, key=lambda each: each.validation["score"], reverse=True):
        state = folder.rerun(trial.trial_id, run.seed)
        if state is not None:
            metrics = mean_metrics([_finite(each.validation) for each in runs])
            return Kept(TrialSpec(trial.trial_id, trial.params, run.seed), state, metrics)
    return None


def _searched(folder: StudyFolder, trial: TrialRecord) -> Kept | None:
    state = folder.newest_checkpoint(trial.trial_id)  # which holds the adapter of the best report so far as well
    if state is None or trial.best is None:
        return None
    return Kept(TrialSpec(trial.trial_id, trial.params, trial.seed), state, _finite(trial.reports[trial.best]))


def _finite(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Without what is null in study.json, where it was not finite."""
    return {name: value for name, value in metrics.items() if value is not None}


@contextmanager
def exported(record: StudyRecord, found: Kept, engine: str = DEVICE_ENGINE) -> Iterator[Path]:
    """A folder with the adapter, as `best` of a study, while the context lasts. Loads base and rows on the first of the
    study's devices, and lets go of them before the context begins. Raises BaseModelError, DataError, DeviceError as
    the study would, ConfigError for a config of another version; StudyError if its rows have changed since; StoreError
    for a state that does not fit."""
    with tempfile.TemporaryDirectory(prefix="adapter-") as place:
        folder = Path(place).resolve() / found.spec.trial_id
        for name, data in _files(record, found, engine).items():
            target = folder / name
            if not target.resolve().is_relative_to(folder):
                raise StoreError(f"an adapter's file cannot be called {name!r}: it would lie outside its folder.")
            write_bytes(target, data)
        yield folder


def _files(record: StudyRecord, found: Kept, engine: str) -> dict[str, bytes]:
    config = _config(record)
    prepared = tasks.spec(config.task).prepare(config)
    if changed := changed_rows(record, prepared.summary):
        raise StudyError(
            f"the {' and '.join(changed)} rows of study {record.name} have changed since, so the adapter of trial "
            f"{found.spec.trial_id} would not be the one that was measured. Put them back as they were."
        )
    # It only opens what others have trained before, so nobody's folder is needed.
    runner = InProcess(config, engine, StudyFolder(Path()), threading.Event(), {"prepared": prepared})
    try:
        runner.start()
        return runner.export(found.spec, found.state)
    finally:
        runner.close()


def _config(record: StudyRecord) -> StudyConfig:
    """The study's config, on one device: one adapter needs no more."""
    config = StudyConfig.model_validate(record.config)
    cpu = [KINDS[-1]]  # is there without a look, which imports torch
    one = cpu if config.devices == cpu else [select_devices(config.devices, config.precision)[0].name]
    return config.model_copy(update={"devices": one})
