"""Brings versions of the registry into memory: files checked against their manifest, opened on the base, made resident,
asked a canary.

Reads files in a thread of its own, so that the event loop goes on; whoever waits for the same version shares its
loading. A version that was sound once is not asked again: what it is cannot change. One that failed is not read again
for a while, so that requests for it cost nothing.

Where all memory is taken by adapters with requests under way, the least recently used one leaves: new requests for it
wait, those under way end, and its row goes to who has waited longest. So nobody is refused for want of memory, and
nobody waits for ever beside adapters that are always asked. Knows nothing of aliases.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from serve.errors import AdapterFailedError, ClosingError
from tuner.errors import StoreError, TunerError
from tuner.lora.table import Opened, Resident, TableFullError
from tuner.registry import AdapterName, Registry, RegistryState
from tuner.tasks.served import ServedBase

log = logging.getLogger(__name__)

AGAIN_S = 5.0
"""Seconds for which a version that failed is not tried again, or 20 times what the try took where that is more."""
_AGAIN = 20

Canary = Callable[[Resident], Awaitable[Any]]
T = TypeVar("T")


class Loader:
    """Loads the versions of one task, those of `state`. `canary` runs a small request on an adapter."""

    def __init__(self, task: str, base: ServedBase, registry: Registry, canary: Canary) -> None:
        self.state = RegistryState()
        self._task = task
        self._base = base
        self._registry = registry
        self._canary = canary
        self._sound: set[str] = set()
        self._failed: dict[str, tuple[float, str]] = {}  # until when (monotonic), and why
        self._waiting: dict[str, list[asyncio.Future[Resident]]] = {}
        self._loads: set[asyncio.Task[None]] = set()
        self._room = asyncio.Lock()
        self._leaving: dict[str, Resident] = {}
        self._left = asyncio.Event()  # one of them has no more users
        self._files = ThreadPoolExecutor(1, "adapter-files")

    async def take(self, name: str) -> Resident:
        """The adapter "reviews@1a2b3c4d5e6f", checked and sound, counted as used until `release`. Raises
        AdapterFailedError, whose cause says more than is for a client; ClosingError."""
        if name in self._sound and name not in self._leaving:
            resident = self._base.table.take(name)
            if resident is not None:
                return resident
        if self.failed(name):
            raise self._error(name)
        waiter: asyncio.Future[Resident] = asyncio.get_running_loop().create_future()
        if name not in self._waiting:
            self._waiting[name] = []
            load = in_background(self._load(name))
            self._loads.add(load)
            load.add_done_callback(self._loads.discard)
        self._waiting[name].append(waiter)
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self.release(waiter.result())  # it came in the moment in which nobody wanted it any more
            raise

    def release(self, resident: Resident) -> None:
        """Who took it needs it no more."""
        self._base.table.release(resident)
        if not resident.users and resident.key in self._leaving:
            self._left.set()

    def failed(self, name: str) -> bool:
        """Whether a version failed so lately that it is not tried again."""
        return name in self._failed and time.monotonic() < self._failed[name][0]

    async def close(self) -> None:
        """End the thread, and what is being loaded with it."""
        for load in self._loads:
            load.cancel()
        await asyncio.gather(*self._loads, return_exceptions=True)
        await asyncio.to_thread(self._files.shutdown, cancel_futures=True)

    async def _load(self, name: str) -> None:
        """Load a version for all who wait for it."""
        resident: Resident | None = None
        error: Callable[[], Exception] = ClosingError
        started = time.monotonic()
        try:
            resident = await self._resident(name)
            if name not in self._sound:
                await self._ask(resident)
                self._sound.add(name)
            self._failed.pop(name, None)
        except Exception as found:  # whatever an adapter brings about is its own, and the server goes on
            why = str(found) if isinstance(found, TunerError) else f"{type(found).__name__}: {found}"
            log.error("%s/%s cannot be served: %s", self._task, name, why)
            now = time.monotonic()
            self._failed[name] = (now + max(AGAIN_S, _AGAIN * (now - started)), why)
            error = functools.partial(self._error, name)
        finally:
            sound = resident is not None and name in self._sound
            for waiter in self._waiting.pop(name):
                if waiter.done():
                    continue
                if sound and (taken := self._base.table.take(name)) is not None:
                    waiter.set_result(taken)
                else:
                    waiter.set_exception(error())
            if resident is not None:
                self.release(resident)
                if not sound:
                    self._base.table.drop(name)

    async def _resident(self, name: str) -> Resident:
        """A version in the table, taken."""
        if name in self._leaving:
            async with self._room:  # until it has left, or need not any more
                pass
        resident = self._base.table.take(name)
        if resident is not None:
            return resident
        opened = await self._aside(functools.partial(self._open, name))
        async with self._room:
            try:
                while True:
                    try:
                        return await self._aside(functools.partial(self._base.table.put, name, opened))
                    except TableFullError as full:
                        self._leaving[full.oldest.key] = full.oldest
                        self._left.clear()
                        if full.oldest.users:
                            await self._left.wait()
            finally:
                self._leaving.clear()

    def _open(self, name: str) -> Opened:
        """In the thread for files."""
        short, _, version = name.partition("@")
        entry = self.state.adapter(AdapterName(self._task, short)).entry(version)
        trained_on = self._registry.verify(entry).manifest.origin.base_checksum
        serving = self._base.facts.checksum
        if trained_on and serving and trained_on != serving:
            raise StoreError(f"it was trained on a base whose checksum is {trained_on}, and {serving} serves.")
        return self._base.open(self._registry.folder(entry))

    async def _ask(self, resident: Resident) -> None:
        answer = await self._canary(resident)
        if isinstance(answer, Exception):
            raise AdapterFailedError(f"its canary failed: {answer}")
        if not self._base.sound(answer):
            raise AdapterFailedError("its canary failed: its answer is empty or no number")

    async def _aside(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._files, work)

    def _error(self, name: str) -> AdapterFailedError:
        error = AdapterFailedError(f"{name} cannot be served now; the server's log says why.")
        error.__cause__ = StoreError(f"{name} cannot be served: {self._failed[name][1]}")
        return error


def in_background(work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """A task whose error is for those who wait for it; nobody may."""
    task = asyncio.get_running_loop().create_task(work)
    task.add_done_callback(lambda done: done.cancelled() or done.exception())
    return task
