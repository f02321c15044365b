"""The registry over HTTP: list, promote, point, weigh, shadow, roll back, delete. Every change is written to the audit
log, refused ones too.

What a request names are studies, adapters, aliases and versions, never a path: studies lie in the server's results
folder. A change is one step in the registry, which the replicas follow by themselves within a moment. What the path of
a request names and is not there is answered 404, a field that cannot be 422, and what cannot be done as things stand
409: deleting a version that an alias needs, rolling back what has nothing before it, promoting a study without a
winner.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Request

from serve.admin_errors import BusyError, conflicts, refusal
from serve.admin_schemas import (
    AdapterDetails,
    AdapterShown,
    AdaptersShown,
    AliasAsk,
    AliasName,
    Name,
    PromoteAsk,
    Promoted,
    Task,
    VersionName,
    VersionsLeft,
    WhyAsk,
    adapter_shown,
    history_shown,
)
from serve.apart import Asked, promote_apart
from serve.app import ErrorBody
from serve.audit import FILE, AuditLog, ended
from serve.errors import UnknownAdapterError
from serve.pathless import pathless, pathless_value
from serve.problems import quoted
from serve.rules import Rule
from serve.settings import ServeSettings
from tuner.errors import ConfigError, StoreError, TunerError
from tuner.registry import Adapter, AdapterName, Entry, Limits, Registry
from tuner.registry.names import checked_alias
from tuner.registry.target import check_words

PROMOTION_S = 900.0
"""Seconds that a promotion may take: a large base is read from a slow disk, and a picture is drawn on a CPU."""
_BYTES = 64 * 1024
_ADAPTER = "/admin/adapters/{task}/{name}"
_ALIAS = _ADAPTER + "/aliases/{alias}"
RULES = (
    Rule("GET", "/admin/adapters", "deploy"),
    Rule("GET", _ADAPTER, "deploy"),
    Rule("POST", _ADAPTER, "deploy", _BYTES),
    Rule("POST", _ALIAS, "deploy", _BYTES),
    Rule("POST", _ALIAS + "/rollback", "deploy", _BYTES),
    Rule("DELETE", _ALIAS, "admin"),
    Rule("DELETE", _ADAPTER + "/versions/{version}", "admin"),
)


class Admin:
    """What can be done with one registry by request. Every method raises ServeError and TunerError; its docstring is
    shown to clients."""

    def __init__(self, settings: ServeSettings) -> None:
        self._settings = settings
        self._registry = Registry(settings.registry)
        self._audit = AuditLog(settings.registry / FILE)
        self._promoting = asyncio.Lock()

    def listed(self) -> Any:
        """With versions, and what the aliases point to."""
        state = self._registry.state()
        adapters = sorted(state.adapters.values(), key=lambda adapter: adapter.name)
        return {"generation": state.generation, "adapters": [adapter_shown(adapter) for adapter in adapters]}

    def one(self, task: Task, name: Name) -> Any:
        """A version whose manifest is damaged is said to be."""
        adapter = self._known(task, name)
        return {
            **adapter_shown(adapter),
            "origins": {version: _origin(self._registry, entry) for version, entry in adapter.versions.items()},
            "history": history_shown(adapter),
        }

    async def promote(self, request: Request, task: Task, name: Name, ask: PromoteAsk) -> Any:
        """One promotion is done at a time, in a process of its own; it may take minutes."""
        who, target = f"http:{request.state.key}", f"{task}/{name}@{ask.alias} from {ask.study}"

        async def note(outcome: str) -> None:
            await asyncio.to_thread(self._audit.append, who, "promote", target, outcome, request.state.request_id)

        await asyncio.to_thread(self._audit.check)
        try:
            version = await self._promoted(AdapterName(task, name), ask, who)
        except BaseException as error:
            await note(ended(error))
            if isinstance(error, TunerError):
                raise refusal(error, [self._settings.registry, self._settings.results]) from error
            raise
        await note(f"done: {version}")
        return {"adapter": f"{task}/{name}@{version}", "alias": ask.alias}

    def point(self, request: Request, task: Task, name: Name, alias: AliasName, ask: AliasAsk) -> Any:
        """Weights may have any sum. Servers follow within a moment, once every version has answered a trial request."""
        limits = Limits(**ask.limits.model_dump()) if ask.limits is not None else None
        words = [f"{version}={weight:g}" for version, weight in ask.split.items()]
        words += ["shadow", ask.shadow] if ask.shadow is not None else []
        with self._noted(request, "alias", f"{task}/{name}@{alias} to {' '.join(words)}") as who:
            full = self._known(task, name).name
            state = self._registry.set_alias(
                full, alias, ask.split, shadow=ask.shadow, limits=limits, by=who, why=ask.why
            )
            return adapter_shown(state.adapter(full))

    def rollback(self, request: Request, task: Task, name: Name, alias: AliasName, ask: WhyAsk) -> Any:
        """Again goes back further."""
        with self._noted(request, "rollback", f"{task}/{name}@{alias}") as who:
            adapter = self._known(task, name)
            if alias not in adapter.history:
                raise _no_alias(adapter, alias)
            check_words(why=ask.why)  # which is a field's fault, no conflict
            with conflicts():
                state = self._registry.rollback(adapter.name, alias, by=who, why=ask.why)
            return adapter_shown(state.adapter(adapter.name))

    def remove(self, request: Request, task: Task, name: Name, alias: AliasName) -> Any:
        """Its history stays."""
        with self._noted(request, "remove alias", f"{task}/{name}@{alias}") as who:
            adapter = self._known(task, name)
            if adapter.alias(alias) is None:
                raise _no_alias(adapter, alias)
            return adapter_shown(self._registry.remove_alias(adapter.name, alias, by=who).adapter(adapter.name))

    def delete(self, request: Request, task: Task, name: Name, version: VersionName) -> Any:
        """For good."""
        with self._noted(request, "delete", f"{task}/{name}@{version}") as who:
            adapter = self._known(task, name)
            if version not in adapter.versions:
                raise UnknownAdapterError(f"{adapter.name} has no version {quoted(version)}.", "version")
            with conflicts():
                left = self._registry.delete(adapter.name, version, by=who).adapters.get(adapter.name)
            return {"adapter": str(adapter.name), "versions": list(left.versions) if left is not None else []}

    def _known(self, task: str, name: str) -> Adapter:
        """The adapter that a path names. Raises UnknownAdapterError."""
        try:
            adapter = self._registry.state().adapters.get(AdapterName(task, name))
        except ConfigError:  # what cannot be a name names nothing
            adapter = None
        if adapter is None:
            raise UnknownAdapterError(f"There is no adapter {quoted(f'{task}/{name}')}.", "name")
        return adapter

    @contextmanager
    def _noted(self, request: Request, action: str, target: str) -> Iterator[str]:
        """A change within is done in the name of the request's key, and it is written down how it went."""
        who = f"http:{request.state.key}"
        with self._audit.noted(who, action, target, request.state.request_id):
            yield who

    async def _promoted(self, name: AdapterName, ask: PromoteAsk, who: str) -> str:
        """The version that a promotion in a process of its own published."""
        alias = checked_alias(ask.alias)
        if self._promoting.locked():
            raise BusyError("A promotion is under way, and one is done at a time. Try again soon.")
        async with self._promoting:
            known = self._settings
            return await promote_apart(
                Asked(known.registry, known.results, ask.study, ask.trial, name, alias, who), PROMOTION_S
            )


def routes(settings: ServeSettings) -> APIRouter:
    """All of /admin."""
    router, admin = APIRouter(tags=["admin"]), Admin(settings)
    conflict: dict[int | str, dict[str, Any]] = {
        409: {"model": ErrorBody, "description": "it cannot be done as things stand"}
    }
    router.get("/admin/adapters", summary="Every adapter of the registry", response_model=AdaptersShown)(admin.listed)
    router.get(
        _ADAPTER,
        summary="One adapter, with where its versions come from and the history of its aliases",
        response_model=AdapterDetails,
    )(admin.one)
    router.post(
        _ADAPTER,
        summary="Promote a study's winner: check it, let it answer, publish it",
        responses=conflict,
        response_model=Promoted,
    )(admin.promote)
    router.post(
        _ALIAS, summary="Point an alias to versions by weight, with a shadow and limits", response_model=AdapterShown
    )(admin.point)
    router.post(
        _ALIAS + "/rollback",
        summary="Point an alias to what it pointed to before",
        responses=conflict,
        response_model=AdapterShown,
    )(admin.rollback)
    router.delete(_ALIAS, summary="Remove an alias; a rollback brings it back", response_model=AdapterShown)(
        admin.remove
    )
    router.delete(
        _ADAPTER + "/versions/{version}",
        summary="Delete a version that no alias needs, and its files",
        responses=conflict,
        response_model=VersionsLeft,
    )(admin.delete)
    return router


def _no_alias(adapter: Adapter, alias: str) -> UnknownAdapterError:
    return UnknownAdapterError(f"{adapter.name} has no alias {quoted(alias)}.", "alias")


def _origin(registry: Registry, entry: Entry) -> dict[str, Any]:
    try:
        origin = registry.published(entry).manifest.origin
    except StoreError as error:
        return {"damaged": pathless(str(error), [registry.path])}
    return {name: pathless_value(value) for name, value in asdict(origin).items()}
