"""The trials that are under way in a task, by alias; one that is over a limit goes back through the registry, so that
every replica follows and the alias's history and the audit log say why."""

from __future__ import annotations

import asyncio
import logging

from serve.audit import FILE, AuditLog, ended
from serve.loader import in_background
from serve.meters import Meters
from serve.traffic import Trial
from tuner.errors import StoreError, TunerError
from tuner.registry import AdapterName, Registry, Target

log = logging.getLogger(__name__)


class Trials:
    """The splits with limits of one task."""

    def __init__(self, task: str, registry: Registry, meters: Meters) -> None:
        self._task = task
        self._registry = registry
        self._meters = meters
        self._under_way: dict[str, Trial] = {}

    def begin(self, alias: str, target: Target) -> None:
        """An alias ("reviews@champion") serves another target now; what was counted before is forgotten."""
        self.end(alias)
        if target.limits is not None and len(target.split) > 1:
            self._under_way[alias] = Trial(target)

    def end(self, alias: str) -> None:
        """An alias is gone."""
        self._under_way.pop(alias, None)

    def judge(self, alias: str, version: str, seconds: float, *, failed: bool) -> None:
        """How a request went; a version that is over a limit is taken out of its split."""
        trial = self._under_way.get(alias)
        if trial is not None and (why := trial.add(version, seconds, failed=failed)):
            del self._under_way[alias]  # one return is enough
            in_background(self._return(alias, trial.target, version, why))

    async def _return(self, alias: str, target: Target, version: str, why: str) -> None:
        """Take a version out of an alias, unless the alias has moved on."""
        name, _, word = alias.partition("@")
        rest = {share.version: share.weight for share in target.split if share.version != version}
        who, outcome = f"server:{self._task}", f"done: {why}"
        log.warning("%s/%s: %s is taken out of the split: %s", self._task, alias, version, why)
        try:
            await asyncio.to_thread(
                self._registry.set_alias,
                AdapterName(self._task, name),
                word,
                rest,
                shadow=target.shadow,
                limits=target.limits if len(rest) > 1 else None,
                instead_of=target,
                by=who,
                why=f"{version} was on trial and is taken back: {why}",
            )
            self._meters.swap("returned")
        except TunerError as error:
            outcome = ended(error)
            log.error("%s/%s could not be changed: %s", self._task, alias, error)
            self._under_way.setdefault(alias, Trial(target))  # to be judged anew
        try:  # behind the change: a log that takes no more must not keep a bad version in its place
            audit = AuditLog(self._registry.path / FILE)
            await asyncio.to_thread(audit.append, who, "take back", f"{self._task}/{alias}: {version}", outcome, "")
        except StoreError as error:
            log.error("%s", error)
