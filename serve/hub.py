"""Which adapters a base answers with: what the registry says, loaded, checked and kept up to date while it serves.

The registry's folder is looked at every 50 ms. Where an alias has changed, the versions it names now are loaded beside
those that serve, checked, and each answers a canary (see `loader.py`); only then does the alias flip, in one
assignment. A version that fails is refused: its alias serves on as before, and the refusal is kept to be shown. It is
tried again now and then, since files can be mended. A registry that cannot be read changes nothing.

So a replica needs nothing but the registry's folder, and a new one finds all that the last one had. Lives in one event
loop. Knows nothing of HTTP.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from serve.errors import AdapterFailedError, UnknownAdapterError
from serve.loader import Canary, Loader, in_background
from serve.meters import Meters
from serve.references import References
from serve.shown import Shown, shown
from serve.trials import Trials
from tuner.errors import StoreError, TunerError
from tuner.lora.table import Resident
from tuner.registry import CHAMPION, Adapter, AdapterName, Registry, RegistryState, Target
from tuner.tasks.served import ServedBase

log = logging.getLogger(__name__)

LOOK_S = 0.05
_NEVER: Any = object()  # the stamp of a registry that was not read yet


@dataclass(frozen=True)
class Chosen:
    """The adapter of one request. `name` is "reviews@1a2b3c4d5e6f", "" for the base alone; `alias` the alias it was
    asked by, `shadow` the version to be asked too."""

    name: str
    resident: Resident
    alias: str = ""
    shadow: str = ""


class Hub:
    """The adapters of one task. `canary` runs a small request on an adapter. `trouble` says why nothing can be
    answered, "" where it can."""

    def __init__(self, task: str, base: ServedBase, registry: Registry, meters: Meters, canary: Canary) -> None:
        self.task = task
        self.meters = meters
        self.trouble = "it has not read the registry yet"
        self._base = base
        self._registry = registry
        self._state = RegistryState()
        self._stamp = _NEVER
        self._complaint = ""
        self._references = References(task)
        self._loader = Loader(task, base, registry, canary)
        self._served: dict[str, Target] = {}
        self._trials = Trials(task, registry, meters)
        self._refused: dict[str, tuple[Target, str]] = {}
        self._flips: dict[str, tuple[Target, asyncio.Task[None]]] = {}
        self._watching: asyncio.Task[None] | None = None
        self._default = ""

    async def start(self) -> None:
        """Load what is promoted, then watch for changes."""
        await self.look()
        await asyncio.gather(*(flip for _, flip in self._flips.values()))
        self._watching = asyncio.get_running_loop().create_task(self._watch())

    async def close(self) -> None:
        """Stop watching and loading."""
        ending = [flip for _, flip in self._flips.values()]
        if self._watching is not None:
            ending.append(self._watching)
        for task in ending:
            task.cancel()
        await asyncio.gather(*ending, return_exceptions=True)
        await self._loader.close()

    async def take(self, reference: str | None) -> Chosen:
        """The adapter that a reference means now, made resident and counted as used until `release`. None is the
        default, "" the base alone. Raises UnknownAdapterError, AdapterFailedError, ClosingError."""
        if reference is None:
            reference = self._default
        if not reference:
            return self._base_alone()
        asked = self._references.read(reference, self._state)
        if asked.is_version:
            self._references.check(asked, self._state)
            name = str(asked)
            return Chosen(name, await self._loader.take(name))
        alias = str(asked)
        target = self._served.get(alias)
        if target is None:
            self._references.check(asked, self._state)
            soon = "was refused; the server's log says why" if alias in self._refused else "is being loaded"
            raise AdapterFailedError(f"{alias} {soon}. Try again soon.")
        version = _picked(target)
        try:
            resident = await self._loader.take(f"{asked.name}@{version}")
        except AdapterFailedError:
            self._trials.judge(alias, version, 0.0, failed=True)
            raise
        shadow = f"{asked.name}@{target.shadow}" if target.shadow else ""
        return Chosen(resident.key, resident, alias, shadow)

    def release(self, chosen: Chosen) -> None:
        """A request has left the model."""
        self._loader.release(chosen.resident)

    def observe(self, chosen: Chosen, seconds: float, *, failed: bool) -> None:
        """How a request went; a version on trial that is over a limit is taken out of its split."""
        self._trials.judge(chosen.alias, chosen.name.partition("@")[2], seconds, failed=failed)

    def shown(self) -> list[Shown]:
        """Every version of the task, with what serves."""
        return shown(self._adapters(), self._served, self._refused, frozenset(self._base.table.keys()))

    @property
    def served(self) -> Mapping[str, Target]:
        """What each alias serves now: "reviews@champion" and its split."""
        return self._served

    async def look(self) -> None:
        """Read the registry if it has changed, and begin to load what is new or may be mended."""
        try:
            stamp = self._registry.stamp()
            if stamp != self._stamp:
                state = await asyncio.to_thread(self._registry.state)
                if stamp is None and self._state.generation:
                    raise StoreError(f"the registry in {self._registry.path} is gone.")
                self._take_over(state)
                self._stamp, self._complaint, self.trouble = stamp, "", ""
        except StoreError as error:
            if str(error) != self._complaint:
                log.error("%s: the registry cannot be read, and what serves serves on: %s", self.task, error)
                self._complaint = str(error)
            if self._stamp is _NEVER:
                self.trouble = "the registry cannot be read; the server's log says why"
        for alias, (target, _) in self._refused.items():
            name = alias.partition("@")[0]
            if not any(self._loader.failed(f"{name}@{version}") for version in target.versions):
                self._begin(alias, target)

    def _take_over(self, state: RegistryState) -> None:
        """Go by a new state of the registry."""
        self._state = self._loader.state = state
        wanted = {
            f"{adapter.name.name}@{name}": alias.target
            for adapter in self._adapters()
            for name, alias in adapter.aliases.items()
        }
        for alias in self._served.keys() - wanted.keys():
            self._served.pop(alias)
            self._trials.end(alias)
        self._refused = {alias: kept for alias, kept in self._refused.items() if wanted.get(alias) == kept[0]}
        known = {f"{each.name.name}@{version}" for each in self._adapters() for version in each.versions}
        for name in set(self._base.table.keys()) - known:
            self._base.table.drop(name)
        for alias, target in wanted.items():
            if self._served.get(alias) != target and alias not in self._refused:
                self._begin(alias, target)
        self._choose_default()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                await self.look()
            except Exception:  # the watch must outlive whatever it meets
                log.exception("%s: the registry could not be looked at", self.task)

    def _begin(self, alias: str, target: Target) -> None:
        """Load what an alias points to, behind what is being loaded for it, unless it is that."""
        coming, before = self._flips.get(alias, (None, None))
        if coming != target:
            flip = in_background(self._flip(alias, target, before))
            self._flips[alias] = (target, flip)
            flip.add_done_callback(lambda _: self._flips.get(alias) == (target, flip) and self._flips.pop(alias))

    async def _flip(self, alias: str, target: Target, before: asyncio.Task[None] | None) -> None:
        """Load what an alias points to now, and let it serve."""
        if before is not None:
            await asyncio.wait([before])
        if self._wanted(alias) != target:
            return
        try:
            await self._ready(alias, target)
        except TunerError as error:
            if self._wanted(alias) == target:
                why = str(error.__cause__ or error)
                if self._refused.get(alias) != (target, why):
                    log.error("%s/%s is refused, and what served before serves on: %s", self.task, alias, why)
                self._refused[alias] = (target, why)
                self.meters.swap("refused")
                if alias not in self._served:
                    await self._serve_older(alias)
                self._choose_default()
            return
        if self._wanted(alias) != target:
            return
        self._refused.pop(alias, None)
        self._served[alias] = target
        self._trials.begin(alias, target)
        self._choose_default()
        self.meters.swap("ok")
        log.info("%s/%s serves %s", self.task, alias, target)

    async def _ready(self, alias: str, target: Target) -> None:
        """Every version of a target resident, checked and sound. Raises AdapterFailedError, ClosingError."""
        name = alias.partition("@")[0]
        for version in sorted(target.versions):
            self._loader.release(await self._loader.take(f"{name}@{version}"))

    async def _serve_older(self, alias: str) -> None:
        """Where an alias has served nothing here yet, as in a replica that took another's place, let it serve the
        newest of its earlier targets that is in order: what the others serve on with."""
        name, _, word = alias.partition("@")
        changes = self._state.adapters[AdapterName(self.task, name)].history[word]
        for target in dict.fromkeys(change.target for change in reversed(changes[:-1]) if change.target is not None):
            try:
                await self._ready(alias, target)
            except TunerError:
                continue
            if alias in self._refused and alias not in self._served:
                self._served[alias] = target
                log.warning("%s/%s serves what it pointed to before: %s", self.task, alias, target)
            return

    def _base_alone(self) -> Chosen:
        if not self._base.alone:
            how = f"tuner promote STUDY --as {self.task}/NAME --alias {CHAMPION}"
            raise UnknownAdapterError(f"There is no adapter to answer with yet. Promote one: {how}.")
        return Chosen("", self._base.table.take_base())

    def _wanted(self, alias: str) -> Target | None:
        name, _, word = alias.partition("@")
        adapter = self._state.adapters.get(AdapterName(self.task, name))
        stands = adapter.alias(word) if adapter is not None else None
        return None if stands is None else stands.target

    def _choose_default(self) -> None:
        """The champion of the name that was promoted first: a later name does not change it, nor does one that fails
        hand it on. One that is being loaded for the first time is passed over."""
        champions = [f"{adapter.name.name}@{CHAMPION}" for adapter in self._adapters()]
        self._default = next((each for each in champions if each in self._served or each in self._refused), "")

    def _adapters(self) -> list[Adapter]:
        return [adapter for name, adapter in self._state.adapters.items() if name.task == self.task]


def _picked(target: Target) -> str:
    if len(target.split) == 1:
        return target.split[0].version
    weights = [share.weight for share in target.split]
    return random.choices(target.split, weights)[0].version
