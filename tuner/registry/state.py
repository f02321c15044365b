"""What the registry holds at one moment: versions and aliases of every name. Knows no files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from difflib import SequenceMatcher

from tuner.errors import ConfigError, Problem
from tuner.registry.names import AdapterName, Reference
from tuner.registry.target import Alias, Change

_SHOWN = 10  # known names in an error; a registry of 500 is no sentence


@dataclass(frozen=True)
class Entry:
    """A version that was promoted: the whole SHA-256 of its manifest, when (seconds since the epoch) and by whom."""

    name: AdapterName
    version: str
    digest: str
    created: float
    by: str

    def __str__(self) -> str:
        return f"{self.name}@{self.version}"


@dataclass(frozen=True)
class Adapter:
    """One name: its versions, oldest first, and the changes of each alias, oldest first, those of removed ones too."""

    name: AdapterName
    versions: Mapping[str, Entry] = field(default_factory=dict)
    history: Mapping[str, tuple[Change, ...]] = field(default_factory=dict)

    @property
    def aliases(self) -> dict[str, Alias]:
        """The aliases as they stand."""
        found = {name: self.alias(name) for name in self.history}
        return {name: alias for name, alias in found.items() if alias is not None}

    def alias(self, name: str) -> Alias | None:
        """One alias as it stands; None where there is none."""
        changes = self.history.get(name)
        if not changes or changes[-1].target is None:
            return None
        last = changes[-1]
        return Alias(self.name, name, changes[-1].target, last.when, last.by, last.why)

    def entry(self, version: str) -> Entry:
        """One version. Raises ConfigError, naming those there are, if it is unknown."""
        found = self.versions.get(version)
        if found is None:
            rule = f"{self.name} has no such version"
            raise ConfigError(Problem("version", version, rule, nearest(version, self.versions)))
        return found

    def users_of(self, version: str) -> list[str]:
        """Which aliases need a version, in words."""
        return [
            f"{alias.alias} ({'shadow' if alias.target.shadow == version else 'split'})"
            for alias in self.aliases.values()
            if version in alias.target.versions
        ]


@dataclass(frozen=True)
class RegistryState:
    """One consistent view. `generation` grows by one with every change."""

    generation: int = 0
    adapters: Mapping[AdapterName, Adapter] = field(default_factory=dict)

    def adapter(self, name: AdapterName) -> Adapter:
        """One name. Raises ConfigError, naming those there are, if it is unknown."""
        found = self.adapters.get(name)
        if found is None:
            known = nearest(str(name), map(str, self.adapters))
            raise ConfigError(Problem("adapter", str(name), "there is no such adapter in the registry", known))
        return found

    def find(self, task: str, reference: Reference) -> Alias | Entry:
        """What a reference means now. Raises ConfigError, naming those there are (the nearest first), if there is
        no such adapter of the task, or no such alias or version of it."""
        adapter = self.adapters.get(AdapterName(task, reference.name))
        if adapter is None:
            known = nearest(reference.name, (name.name for name in self.adapters if name.task == task))
            rule = f"there is no such adapter of the task {task}"
            raise ConfigError(Problem("adapter", str(reference), rule, known))
        found = adapter.versions.get(reference.at) if reference.is_version else adapter.alias(reference.at)
        if found is None:
            kind = "version" if reference.is_version else "alias"
            known = nearest(reference.at, adapter.versions if reference.is_version else adapter.aliases)
            raise ConfigError(Problem("adapter", str(reference), f"{reference.name} has no such {kind}", known))
        return found


def nearest(word: str, known: Iterable[str]) -> str:
    """A sentence that names what there is, the most alike first."""
    matcher = SequenceMatcher(b=word)

    def likeness(other: str) -> tuple[float, str]:
        matcher.set_seq1(other)
        return -matcher.ratio(), other

    ranked = sorted(known, key=likeness)
    if not ranked:
        return "There is none yet: `tuner promote` adds one."
    more = f" and {len(ranked) - _SHOWN} more" if len(ranked) > _SHOWN else ""
    return f"Known: {', '.join(ranked[:_SHOWN])}{more}."
