"""Changes of the registry as functions of its state: each takes one and returns the next, or the same one where
nothing changes. Knows no files.

A rollback walks back through the changes of an alias as an editor's undo does: to the newest before the current one
that differs from it, and from there on to those before that one, not to what was rolled back from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from tuner.errors import ConfigError, Problem
from tuner.registry.names import AdapterName, checked_alias
from tuner.registry.state import Adapter, Entry, RegistryState, nearest
from tuner.registry.target import Change, Target

HISTORY = 200
"""Changes kept of an alias: the oldest go, so that the state stays small enough to be read at every change."""


def with_version(state: RegistryState, entry: Entry) -> RegistryState:
    """With a version more, or the same state if it has it. Raises ConfigError where another one has the same name."""
    adapter = state.adapters.get(entry.name, Adapter(entry.name))
    known = adapter.versions.get(entry.version)
    if known is None:
        return _with(state, replace(adapter, versions={**adapter.versions, entry.version: entry}))
    if known.digest != entry.digest:
        raise ConfigError(
            f"{entry} is another adapter already: their SHA-256 begin with the same 12 digits. Promote it under "
            "another name, or delete that version first."
        )
    return state


def with_alias(
    state: RegistryState, name: AdapterName, alias: str, target: Target, when: float, by: str, why: str
) -> RegistryState:
    """With an alias pointing to a target; the same state if it does. Raises ConfigError for unknown names."""
    checked_alias(alias)
    adapter = state.adapter(name)
    problems = [
        Problem("version", version, f"{name} has no such version", nearest(version, adapter.versions))
        for version in sorted(target.versions - adapter.versions.keys())
    ]
    if problems:
        raise ConfigError(problems)
    current = adapter.alias(alias)
    if current is not None and current.target == target:
        return state
    return _changed(state, adapter, alias, target, when, by, why)


def with_rollback(state: RegistryState, name: AdapterName, alias: str, when: float, by: str, why: str) -> RegistryState:
    """With an alias where it was before, whether it was moved or removed since. What pointed to a version that is
    deleted is passed over. Raises ConfigError if there is nothing to go back to."""
    checked_alias(alias)
    adapter = state.adapter(name)
    changes = adapter.history.get(alias)
    if changes is None:
        raise _no_alias(adapter, alias)
    found = _before(adapter, changes)
    if found is None:
        gone = any(each.target and not each.target.versions <= adapter.versions.keys() for each in changes[:-1])
        why_not = "what it pointed to before is deleted" if gone else "it pointed to nothing else before"
        raise ConfigError(Problem("alias", alias, f"there is nothing to roll {name}@{alias} back to: {why_not}"))
    return _changed(state, adapter, alias, found.target, when, by, why, found.back_to or found.number)


def without_alias(state: RegistryState, name: AdapterName, alias: str, when: float, by: str, why: str) -> RegistryState:
    """Without an alias; its history stays. Raises ConfigError if there is none."""
    adapter = state.adapter(name)
    if adapter.alias(alias) is None:
        raise _no_alias(adapter, alias)
    return _changed(state, adapter, alias, None, when, by, why)


def without_version(state: RegistryState, name: AdapterName, version: str) -> RegistryState:
    """Without a version; the last one takes the name with it. Raises ConfigError while an alias needs it."""
    adapter = state.adapter(name)
    adapter.entry(version)
    if users := adapter.users_of(version):
        raise ConfigError(
            Problem("version", version, f"aliases of {name} need it: {', '.join(users)}", "Point them elsewhere first.")
        )
    rest = {each: entry for each, entry in adapter.versions.items() if each != version}
    if rest:
        return _with(state, replace(adapter, versions=rest))
    return replace(state, adapters={each: known for each, known in state.adapters.items() if each != name})


def _before(adapter: Adapter, changes: tuple[Change, ...]) -> Change | None:
    """The newest change before the last one that points elsewhere, along the way that undo takes."""
    by_number: Mapping[int, Change] = {change.number: change for change in changes}
    at: int = changes[-1].back_to or changes[-1].number
    while (found := by_number.get(at - 1)) is not None:
        at = found.back_to or found.number
        target = found.target
        if target is not None and target != changes[-1].target and target.versions <= adapter.versions.keys():
            return found
    return None


def _changed(
    state: RegistryState,
    adapter: Adapter,
    alias: str,
    target: Target | None,
    when: float,
    by: str,
    why: str,
    back_to: int | None = None,
) -> RegistryState:
    changes = adapter.history.get(alias, ())
    number = changes[-1].number + 1 if changes else 1
    kept = (*changes, Change(number, target, when, by, why, back_to))[-HISTORY:]
    return _with(state, replace(adapter, history={**adapter.history, alias: kept}))


def _with(state: RegistryState, adapter: Adapter) -> RegistryState:
    return replace(state, adapters={**state.adapters, adapter.name: adapter})


def _no_alias(adapter: Adapter, alias: str) -> ConfigError:
    known = nearest(alias, adapter.aliases)
    return ConfigError(Problem("alias", alias, f"{adapter.name} has no such alias", known))
