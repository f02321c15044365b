"""From a study's adapter to a version of the registry: what may be promoted, where it comes from, and the canary that
it must answer before anybody sees it.

The canary is the task's own predictor, plain PEFT or diffusers: another way to the same answer than the one that
serves. What is promoted is loaded on its base for that, which takes the base's memory. Knows no HTTP and no process
but its own; `serve/apart.py` spends that memory in another.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuner import tasks
from tuner.errors import ConfigError, Problem, StoreError, StudyError
from tuner.registry import AdapterName, Origin, Registry, Target, Version
from tuner.registry.names import checked_alias
from tuner.store.records import StudyRecord
from tuner.tasks.task import TaskSpec


class NotSoundError(StoreError):
    """The adapter itself is at fault: it does not say its base, does not load on it, or does not answer."""


@dataclass(frozen=True)
class Source:
    """An adapter that a study made: its folder, the trial that it is of, with its hyperparameters and validation
    metrics."""

    folder: Path
    trial: str
    params: Mapping[str, Any]
    metrics: Mapping[str, float | None]


@dataclass(frozen=True)
class Promotion:
    """What was published, on which base, what it answered to the task's example, and what the alias pointed to
    before."""

    version: Version
    base_model: str
    answer: Mapping[str, Any]
    before: Target | None


def check_fits(record: StudyRecord, name: AdapterName, trial: str | None) -> None:
    """Raises ConfigError if the study is of another task than the name, or has no such trial."""
    problems = []
    if record.task != name.task:
        right = f"Name it {record.task}/{name.name}."
        problems.append(Problem("name", str(name), f"study {record.name} is of the task {record.task}", right))
    if trial is not None and all(each.trial_id != trial for each in record.trials):
        cure = f"Its winner is {record.winner.trial_id}." if record.winner else ""
        problems.append(Problem("trial", trial, f"study {record.name} has no such trial", cure))
    if problems:
        raise ConfigError(problems)


def winner_of(study: Path, record: StudyRecord) -> Source:
    """The best adapter of the study in a folder. Raises StudyError if it has none (yet)."""
    winner = record.winner
    if winner is None or not (study / winner.adapter).is_dir():
        raise StudyError(f"study {record.name} is {record.state} and has no best adapter yet.")
    metrics = {**winner.metrics, "score": winner.score}
    # Links above the study are the user's own affair; in the adapter's folder the registry follows none.
    return Source(study.resolve() / winner.adapter, winner.trial_id, winner.params, metrics)


def promote(
    registry: Registry, record: StudyRecord, source: Source, name: AdapterName, alias: str, by: str
) -> Promotion:
    """Publish an adapter of a study. Raises ConfigError, DataError, StoreError, BaseModelError; then the registry is
    as it was."""
    spec = tasks.spec(name.task)
    checked_alias(alias)
    check_fits(record, name, None)
    known = registry.state().adapters.get(name)
    before = known.alias(alias) if known else None
    answers: list[dict[str, Any]] = []
    origin = origin_of(source, record)
    version = registry.promote(source.folder, name, origin=origin, alias=alias, check=canary(spec, answers), by=by)
    return Promotion(version, origin.base_model, answers[0], before.target if before is not None else None)


def canary(spec: TaskSpec, answers: list[dict[str, Any]]) -> Callable[[Path], None]:
    """A check that loads a folder on its base and lets it answer to the task's example, and keeps the answer. It
    raises NotSoundError for what does not load or does not answer, BaseModelError for a base that does not load."""

    def check(folder: Path) -> None:
        try:
            found = spec.predictor(folder).predict([spec.example])
        except StoreError as error:
            raise NotSoundError(str(error)) from error
        if len(found) != 1 or not found[0] or not all(map(_is_sound, found[0].values())):
            raise NotSoundError(f"the adapter loads and does not answer: to {spec.example!r} it gave {found!r}.")
        answers.extend(found)

    return check


def _is_sound(value: Any) -> bool:
    return not isinstance(value, float) or math.isfinite(value)


def origin_of(source: Source, record: StudyRecord) -> Origin:
    """Where a study's adapter comes from. Raises NotSoundError if its folder does not say on which base it was
    trained, BaseModelError if that cannot be found."""
    from tuner.bases.describe import describe

    details = _details(source.folder / "tuner.json")
    peft = source.folder / "adapter_config.json"
    revision = details.get("revision") or (_details(peft).get("revision") if peft.is_file() else None)
    base = str(details.get("base_model") or record.base_model)
    # A task that writes the checksum of its base down trained on that; of others it is what the base has now.
    checksum = details.get("checksum") or describe(base, revision).checksum
    return Origin(
        base_model=base,
        revision=revision,
        base_checksum=str(checksum),
        metrics=source.metrics,
        study=record.name,
        trial=source.trial,
        params=source.params,
        space=record.config.get("space", {}),
        project_version=record.versions.get("lora-tuner", ""),
    )


def _details(path: Path) -> Mapping[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(found, dict):
            raise ValueError("it holds no object")
        return found
    except (OSError, ValueError, RecursionError) as error:
        raise NotSoundError(f"{path} cannot be read: {error}. Tune again, or promote another study.") from error
