"""Whether a study can go on, and the record it goes on with.

Finished trials stay as they are. Trials that were interrupted, or that a crash left running, go on under their own ids
from their newest checkpoints; `search.py` puts them first. What would make old and new scores incomparable must not
have changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tuner.config import StudyConfig
from tuner.errors import StudyError
from tuner.store.files import read_study
from tuner.store.records import COMPLETE, RUNNING, StudyRecord
from tuner.study.folder import StudyFolder
from tuner.study.space import Space, check_unchanged

_FIXED = ("task", "base_model", "revision", "data", "score", "precision")
_FIXED_SEARCH = ("seed", "reports_per_epoch", "asha", "patience")


def changed_rows(record: StudyRecord, summary: Mapping[str, Any]) -> list[str]:
    """The splits whose rows are not those that the study had."""
    before, now = record.data.get("fingerprints", {}), summary.get("fingerprints", {})
    return [split for split, fingerprint in now.items() if before.get(split, fingerprint) != fingerprint]


def check_data(record: StudyRecord, summary: Mapping[str, Any]) -> None:
    """Raises StudyError if the rows are not those that the study's trials so far learned from and were judged on."""
    changes = changed_rows(record, summary)
    if changes and record.trials:
        raise StudyError(
            f"study {record.name!r} cannot go on: its {' and '.join(changes)} rows have changed since, so its scores "
            "would not compare. Put them back as they were, or start a new study under another --name."
        )


def check_config(record: StudyRecord, config: StudyConfig, space: Space, defaults: Mapping[str, Any]) -> None:
    """Raises StudyError if the space or anything else that scores depend on is not as in the study so far. `space`
    is the config's, `defaults` are the task's own hyperparameters."""
    before = StudyConfig.model_validate(record.config)
    check_unchanged(Space(before.space, defaults), space)
    old, now = before.model_dump(mode="json"), config.model_dump(mode="json")
    changes = [name for name in _FIXED if old[name] != now[name]]
    if old["memory"]["base_4bit"] != now["memory"]["base_4bit"]:
        changes.append("memory.base_4bit")
    changes += [f"search.{name}" for name in _FIXED_SEARCH if old["search"][name] != now["search"][name]]
    if changes:
        raise StudyError(
            f"study {record.name!r} cannot go on with another {', '.join(changes)}: its scores would not compare. "
            "Leave that as it was, or start a new study under another --name."
        )


def resumed(config: StudyConfig, folder: StudyFolder, space: Space, defaults: Mapping[str, Any]) -> StudyRecord:
    """The record to go on with. Raises StoreError if there is none, StudyError if the study is finished and no more
    trials are asked for, or if its space or anything else that scores depend on has changed."""
    record = read_study(folder.path)
    check_config(record, config, space, defaults)
    if record.state == COMPLETE and config.search.trials <= len(record.trials):
        raise StudyError(
            f"study {record.name!r} is finished, with {len(record.trials)} trials. Ask for more with "
            f"--trials {len(record.trials) + 8}, or look at it with: tuner status {record.name}"
        )
    return replace(record, config=config.model_dump(mode="json"), state=RUNNING, finished=None, winner=None)
