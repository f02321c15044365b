"""Which base serves a task: what the settings name, else that of the adapter promoted last, else the task's default."""

from __future__ import annotations

import logging

from serve.settings import TaskSettings
from tuner.errors import StoreError
from tuner.registry import Registry
from tuner.tasks.task import TaskSpec

log = logging.getLogger(__name__)


def base_of(spec: TaskSpec, own: TaskSettings, registry: Registry) -> tuple[str, str | None]:
    """The base and its revision. Raises StoreError if the registry cannot be read."""
    if own.base_model is not None:
        return own.base_model, own.revision
    return _promoted_base(spec.name, registry) or (spec.bases[spec.default_space], None)


def _promoted_base(task: str, registry: Registry) -> tuple[str, str | None] | None:
    """The base of the adapter that was promoted last."""
    entries = [
        entry
        for name, adapter in registry.state().adapters.items()
        if name.task == task
        for entry in adapter.versions.values()
    ]
    for entry in sorted(entries, key=lambda entry: entry.created, reverse=True):
        try:
            origin = registry.published(entry).manifest.origin
        except StoreError as error:
            log.error("%s is passed over: %s", entry, error)
            continue
        return origin.base_model, origin.revision
    return None
