"""The versions of a task as lists show them: what the registry holds, beside what a server makes of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from tuner.registry import Adapter, Target


@dataclass(frozen=True)
class Shown:
    """A version to be shown. `created` in seconds since the epoch; `aliases` are those that serve it; `refused` says
    why it does not serve, where it was asked to."""

    name: str
    version: str
    created: float
    aliases: tuple[str, ...]
    resident: bool
    refused: str = ""


def shown(
    adapters: Iterable[Adapter],
    served: Mapping[str, Target],
    refused: Mapping[str, tuple[Target, str]],
    resident: AbstractSet[str],
) -> list[Shown]:
    """Every version of these adapters. `served` and `refused` are by alias ("reviews@champion"), `resident` holds
    versions ("reviews@1a2b3c4d5e6f")."""
    return [
        Shown(
            adapter.name.name,
            entry.version,
            entry.created,
            aliases := tuple(alias for alias, target in _own(adapter, served) if entry.version in target.versions),
            f"{adapter.name.name}@{entry.version}" in resident,
            "" if aliases else _why(adapter, entry.version, refused),
        )
        for adapter in adapters
        for entry in adapter.versions.values()
    ]


def _own(adapter: Adapter, served: Mapping[str, Target]) -> Iterable[tuple[str, Target]]:
    for alias in adapter.history:
        target = served.get(f"{adapter.name.name}@{alias}")
        if target is not None:
            yield alias, target


def _why(adapter: Adapter, version: str, refused: Mapping[str, tuple[Target, str]]) -> str:
    for alias in adapter.history:
        found = refused.get(f"{adapter.name.name}@{alias}")
        if found is not None and version in found[0].versions:
            return found[1]
    return ""
