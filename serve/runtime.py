"""What stands between an HTTP route and a base: an adapter for the request, its way through the forward thread, a limit
on time, and what is counted.

Lives in one event loop. Knows nothing of HTTP; errors are those of `serve/errors.py`.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from serve.errors import AdapterFailedError, TooSlowError
from serve.forward import Forward
from serve.hub import Chosen, Hub
from serve.settings import TaskSettings
from serve.shadow import Begun, Shadow
from serve.shown import Shown
from tuner.errors import TunerError
from tuner.tasks.served import Job, ServedBase, ServedFacts

log = logging.getLogger(__name__)

_END = object()  # behind the last piece of a stream


@dataclass(frozen=True)
class Answered:
    """An answer, and whose: "reviews@1a2b3c4d5e6f", or "" for the base alone. `seconds` are those of its request."""

    value: Any
    adapter: str
    seconds: float


class Runtime:
    """One task's base with its adapters, ready to answer. `hub` has been started."""

    def __init__(self, task: str, base: ServedBase, hub: Hub, forward: Forward, settings: TaskSettings) -> None:
        self.task = task
        self.base = base
        self.hub = hub
        self.settings = settings
        self._forward = forward
        self._shadow = Shadow(hub, self.begin)

    @property
    def facts(self) -> ServedFacts:
        """Which base serves."""
        return self.base.facts

    @property
    def under_way(self) -> int:
        """Texts, chats or pictures that wait or run."""
        return self._forward.under_way

    @property
    def trouble(self) -> str:
        """Why this replica cannot answer, "" where it can; for everybody to read."""
        return self.hub.trouble if self._forward.alive else "the model does not work; the server's log says why"

    def adapters(self) -> list[Shown]:
        """What can be asked for."""
        return self.hub.shown()

    async def answer(self, ask: Any, adapter: str | None) -> Answered:
        """Answer one request. `adapter` is a reference (reviews, reviews@champion, reviews@1a2b3c4d5e6f), None for
        the task's default, "" for the base alone. Raises UnknownAdapterError, AdapterFailedError, QueueFullError,
        TooSlowError, ClosingError, and what the base raises of its own with a `status`."""
        return (await self.answers((ask,), adapter))[0]

    async def answers(self, asks: Sequence[Any], adapter: str | None) -> list[Answered]:
        """Answer a request of several asks (one at least) with one adapter, all or none: where one fails, the others
        are given up. In line they count as one. Raises as `answer` does."""
        started = time.perf_counter()
        chosen: Chosen | None = None
        jobs: list[Job] = []
        try:
            async with asyncio.timeout(self.settings.timeout_s):
                chosen = await self.hub.take(adapter)
                jobs, coming = self.begin(chosen, asks)
                values = [_sound(await each) for each in coming]
        except BaseException as error:
            for job in jobs:
                job.cancelled = True  # one that has ended does not mind
            if isinstance(error, TimeoutError):
                error = TooSlowError(self.settings.timeout_s)
            if chosen is not None and isinstance(error, AdapterFailedError | TooSlowError):
                self.hub.observe(chosen, time.perf_counter() - started, failed=True)
            raise error from None
        seconds = time.perf_counter() - started
        self.went_well(chosen, asks, values, seconds)
        return [Answered(value, chosen.name, seconds) for value in values]

    async def stream(self, ask: Any, adapter: str | None) -> Stream:
        """Start a request whose answer comes in pieces. Raises as `answer` does, TooSlowError also while the stream is
        read."""
        started = time.perf_counter()
        try:
            async with asyncio.timeout(self.settings.timeout_s):
                chosen = await self.hub.take(adapter)
        except TimeoutError:
            raise TooSlowError(self.settings.timeout_s) from None
        return Stream(self, chosen, ask, started)

    def begin(self, chosen: Chosen, asks: Sequence[Any], piece: Callable[[Any], None] | None = None) -> Begun:
        """Put the asks of one request in line: their jobs, and what each will end with. What was taken is released when
        the last has left the model, not when somebody stops waiting for it: until then its adapter must stay where it
        is; or at once where there is no place in line. Raises QueueFullError, ClosingError."""
        loop = asyncio.get_running_loop()
        left = len(asks)
        jobs: list[Job] = []
        coming: list[asyncio.Future[Any]] = []

        def end(done: asyncio.Future[Any], value: Any) -> None:
            nonlocal left
            left -= 1
            if not left:
                self.hub.release(chosen)
            if not done.done():
                done.set_result(value)

        for ask in asks:
            done = loop.create_future()
            try:
                # the first asks for the place in line of all, so that there is none for some of them only
                job = self._forward.submit(ask, chosen.resident, functools.partial(end, done), piece, counted=not jobs)
            except Exception:
                self.hub.release(chosen)
                raise
            jobs.append(job)
            coming.append(done)
        return jobs, coming

    def went_well(self, chosen: Chosen, asks: Sequence[Any], values: Sequence[Any], seconds: float) -> None:
        """Count a request that was answered, and let a shadow answer it too."""
        self.hub.observe(chosen, seconds, failed=False)
        self.hub.meters.rows(chosen.name or None, len(asks))
        if chosen.shadow:
            for ask, value in zip(asks, values, strict=True):
                self._shadow.compare(chosen, ask, value, seconds, calm=self.under_way * 2 < self.settings.queue)


class Stream:
    """An answer that comes in pieces: iterate over it once, then read `value`; close it to give the request up. One
    that nobody reads ends by itself."""

    def __init__(self, runtime: Runtime, chosen: Chosen, ask: Any, started: float) -> None:
        self.adapter = chosen.name
        self.value: Any = None
        self._runtime, self._chosen, self._ask, self._started = runtime, chosen, ask, started
        self._pieces: asyncio.Queue[Any] = asyncio.Queue()
        (self._job,), (self._done,) = runtime.begin(chosen, (ask,), self._pieces.put_nowait)
        self._late = False
        rest = started + runtime.settings.timeout_s - time.perf_counter()
        self._timer = asyncio.get_running_loop().call_later(rest, self._give_up)
        self._done.add_done_callback(self._ended)

    async def __aiter__(self) -> AsyncIterator[Any]:
        """The pieces in order. Raises TooSlowError, AdapterFailedError, ClosingError behind the last that came."""
        try:
            while (piece := await self._pieces.get()) is not _END:
                yield piece
            if self._late:
                raise TooSlowError(self._runtime.settings.timeout_s)
            self.value = _sound(self._done.result())
        finally:
            self._job.cancelled = True  # whoever stops reading needs no more of it; an ended job does not mind

    async def aclose(self) -> None:
        """Give the request up."""
        self._job.cancelled = True

    def _give_up(self) -> None:
        """There is no more time."""
        self._late = True
        if not self._job.cancelled:
            self._job.cancelled = True
            self._note(failed=True)
        self._pieces.put_nowait(_END)

    def _ended(self, done: asyncio.Future[Any]) -> None:
        """The job has left the model."""
        self._timer.cancel()
        if not self._job.cancelled:
            try:
                value = _sound(done.result())
            except AdapterFailedError:
                self._note(failed=True)
            except Exception:  # the request's own mistake, or the server's end
                log.debug("a stream ended early")
            else:
                seconds = time.perf_counter() - self._started
                self._runtime.went_well(self._chosen, (self._ask,), (value,), seconds)
        self._pieces.put_nowait(_END)

    def _note(self, *, failed: bool) -> None:
        self._runtime.hub.observe(self._chosen, time.perf_counter() - self._started, failed=failed)


def _sound(value: Any) -> Any:
    """What a job ended with, or its error as one that has a status; words of a library's stay in the log, since they
    may tell of the server or of the request."""
    if not isinstance(value, Exception):
        return value
    if hasattr(value, "status"):
        raise value
    if isinstance(value, TunerError):
        raise AdapterFailedError(f"The adapter did not answer: {value}") from value
    log.error("an answer failed with %s", type(value).__name__)
    raise AdapterFailedError("The adapter did not answer; the server's log says why.") from value
