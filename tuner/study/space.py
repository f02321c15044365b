"""The search space of a study, as Optuna understands it: define-by-run, with conditional groups and defaults.

Entries that carry `when` are asked for only when the entries they name, which stand above them, hold one of the listed
values. What is not searched is filled from constants, then from defaults, so that a trial's
params always hold every common hyperparameter. Knows nothing of samplers, trials or Ray.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from tuner.config import COMMON_HYPERPARAMETERS, Choice, Constant, FloatRange, IntRange, SpaceEntry
from tuner.config_space import describe
from tuner.errors import StudyError

if TYPE_CHECKING:
    from optuna.trial import Trial

_SCALARS = (str, int, float, bool, type(None))


class Space:
    """A study's search space. `entries` are those of a valid config: an entry stands below those its `when` names.
    `defaults` are the task's own hyperparameters."""

    def __init__(self, entries: Mapping[str, SpaceEntry], defaults: Mapping[str, Any] | None = None) -> None:
        self.entries = dict(entries)
        self._defaults = {**COMMON_HYPERPARAMETERS, **(defaults or {})}

    def suggest(self, trial: Trial) -> dict[str, Any]:
        """Ask a trial for every entry that is active, and fill the rest from constants and defaults."""
        params: dict[str, Any] = dict(self._defaults)
        active: dict[str, Any] = {}
        for name, entry in self.entries.items():
            if _is_active(entry, active):
                active[name] = params[name] = _ask(trial, name, entry)
        return params

    def distributions(self, *, conditional: bool = True) -> dict[str, BaseDistribution]:
        """The Optuna distribution of every searched entry, with or without those that carry `when`."""
        entries = {name: entry for name, entry in self.entries.items() if conditional or not _when(entry)}
        found = {name: _distribution(entry) for name, entry in entries.items()}
        return {name: distribution for name, distribution in found.items() if distribution is not None}

    def searched(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """The part of `params` that Optuna knows: active, searched entries, with lists as JSON strings."""
        active: dict[str, Any] = {}
        found: dict[str, Any] = {}
        for name, entry in self.entries.items():
            if not _is_active(entry, active) or name not in params:
                continue
            active[name] = params[name]
            if not isinstance(entry, Constant):
                found[name] = _encoded(entry, params[name])
        return found

    def fingerprint(self) -> str:
        """SHA-256 over the space's meaning: equal for two files that differ in comments or order only."""
        return hashlib.sha256(_canonical(self.entries).encode()).hexdigest()


def check_unchanged(before: Space, now: Space) -> None:
    """Raises StudyError that says which entries differ, if a study would go on with another space."""
    if before.fingerprint() == now.fingerprint():
        return
    changes = []
    for name in sorted(before.entries.keys() | now.entries.keys()):
        old, new = before.entries.get(name), now.entries.get(name)
        if old is None:
            changes.append(f"{name} was added")
        elif new is None:
            changes.append(f"{name} was removed")
        elif old != new:
            changes.append(f"{name} was {_in_full(old)} and is now {_in_full(new)}")
    raise StudyError(
        f"the search space changed since the study began: {'; '.join(changes)}. "
        "Go on with the old space, or start a new study under another --name."
    )


def _ask(trial: Trial, name: str, entry: SpaceEntry) -> Any:
    if isinstance(entry, Constant):
        return entry.value
    if isinstance(entry, IntRange):
        return trial.suggest_int(name, entry.low, entry.high, step=entry.step, log=entry.log)
    if isinstance(entry, FloatRange):
        return trial.suggest_float(name, entry.low, entry.high, log=entry.log)
    return _decoded(entry, trial.suggest_categorical(name, _encoded_values(entry)))


def _in_full(entry: SpaceEntry) -> str:
    log = " log" if isinstance(entry, IntRange | FloatRange) and entry.log else ""
    when = _when(entry)
    return f"{describe(entry)}{log}{f' when {when}' if when else ''}"


def _canonical(entries: Mapping[str, SpaceEntry]) -> str:
    return json.dumps({name: entry.model_dump(mode="json") for name, entry in entries.items()}, sort_keys=True)


def _when(entry: SpaceEntry) -> dict[str, list[Any]]:
    return {} if isinstance(entry, Constant) else entry.when or {}


def _is_active(entry: SpaceEntry, active: Mapping[str, Any]) -> bool:
    return all(name in active and active[name] in allowed for name, allowed in _when(entry).items())


def _distribution(entry: SpaceEntry) -> BaseDistribution | None:
    if isinstance(entry, IntRange):
        return IntDistribution(entry.low, entry.high, log=entry.log, step=entry.step)
    if isinstance(entry, FloatRange):
        return FloatDistribution(entry.low, entry.high, log=entry.log)
    if isinstance(entry, Choice):
        return CategoricalDistribution(_encoded_values(entry))
    return None


def _is_encoded(entry: Choice) -> bool:
    # Optuna's categories are scalars; a choice that holds a list anywhere is a choice among JSON strings.
    return not all(isinstance(value, _SCALARS) for value in entry.values)


def _encoded_values(entry: Choice) -> list[Any]:
    return [json.dumps(value) for value in entry.values] if _is_encoded(entry) else list(entry.values)


def _encoded(entry: SpaceEntry, value: Any) -> Any:
    return json.dumps(value) if isinstance(entry, Choice) and _is_encoded(entry) else value


def _decoded(entry: Choice, value: Any) -> Any:
    return json.loads(value) if _is_encoded(entry) else value
