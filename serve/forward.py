"""The one thread that touches a model, and the line in front of it.

The thread drains the line: whatever has queued while the last forward ran joins the next one. Nothing waits for a batch
to fill: alone a request is answered at once, and under load batches grow by themselves. What is ready after a step goes
to the event loop in one call. Whatever the base does, a job ends once, and nothing of it is told after its end.

Knows nothing of HTTP, adapters or tasks.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any

from serve.errors import ClosingError, QueueFullError
from tuner.device import set_threads
from tuner.errors import EngineError
from tuner.lora.table import Resident
from tuner.tasks.served import Job, ServedBase

log = logging.getLogger(__name__)

_RECENT = 0.9  # how much of the smoothed time of an answer stays with each new one
_TRIES = 3  # failed forwards in a row after which it is the model that does not work, not what was asked of it


class Forward:
    """Runs jobs on a base, with so many `threads` on a CPU. Made and used in an event loop's thread; `ran` is told rows
    and seconds of every step, in the thread of the model.

    At most `limit` jobs are under way, waiting ones among them.
    """

    def __init__(self, base: ServedBase, limit: int, ran: Callable[[int, float], None], threads: int = 1) -> None:
        self.base = base
        self._threads = threads
        self.limit = limit
        self.under_way = 0
        self.failed: Exception | None = None
        self._failures = 0  # in a row
        self._ran = ran
        self._seconds = 0.05  # that an answer takes, smoothed
        self._loop = asyncio.get_running_loop()
        self._line: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        # both touched by the thread of the model alone
        self._open: set[Job] = set()
        self._ready: list[tuple[Callable[[Any], None], Any]] = []
        self._closing = False
        self._drained = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="forward", daemon=True)
        self._thread.start()

    def submit(
        self,
        ask: Any,
        adapter: Resident,
        end: Callable[[Any], None],
        piece: Callable[[Any], None] | None,
        *,
        counted: bool = True,
    ) -> Job:
        """Put a request in line. `end` and `piece` are called in the event loop's thread. One that is not `counted`
        passes a full line. Raises QueueFullError, ClosingError."""
        if self._closing:
            raise ClosingError()
        if counted and self.under_way >= self.limit:
            raise QueueFullError(self.limit, max(1.0, self._seconds))
        self.under_way += 1
        started = time.perf_counter()

        def ended(value: Any) -> None:
            self.under_way -= 1
            self._seconds = _RECENT * self._seconds + (1 - _RECENT) * (time.perf_counter() - started)
            if self._closing and not self.under_way:
                self._drained.set()
            end(value)

        def end_now(value: Any) -> None:
            if job in self._open:
                self._open.remove(job)
                self._ready.append((ended, value))

        def piece_now(value: Any) -> None:
            if piece is not None and job in self._open:
                self._ready.append((piece, value))

        # run in the thread of the model, which hands on what is ready after its step
        job = Job(ask, adapter, end_now, None if piece is None else piece_now)
        self._line.put(job)
        return job

    async def close(self, patience: float) -> None:
        """Take no more jobs, wait up to `patience` seconds for those under way, and end the thread."""
        self._closing = True
        if self.under_way:
            try:
                await asyncio.wait_for(self._drained.wait(), patience)
            except TimeoutError:
                log.warning("%d requests were under way and were given up", self.under_way)
        self._line.put(None)
        await asyncio.to_thread(self._thread.join, patience)

    @property
    def alive(self) -> bool:
        """Whether the thread runs and the model works."""
        return self._thread.is_alive() and self.failed is None

    def _run(self) -> None:
        set_threads(self._threads)  # each thread of a process has a number of its own for what it computes
        while True:
            jobs = [] if self.base.busy else [self._line.get()]
            while not self._line.empty():
                jobs.append(self._line.get())
            new = [job for job in jobs if job is not None]
            self._open.update(new)
            started = time.perf_counter()
            try:
                if new:
                    self.base.admit(new)
                rows = self.base.step()
                if self._open and not self.base.busy:
                    raise EngineError(f"the model has lost {len(self._open)} requests.")
                self._failures, self.failed = 0, None
            except Exception as error:
                log.exception("a forward failed")
                # else what the forward had computed stays in memory as long as its error
                traceback.clear_frames(error.__traceback__)
                rows = 0
                self._failures += 1
                self.failed = error if self._failures >= _TRIES else None
                self._abandon(error)
            seconds = time.perf_counter() - started
            if None in jobs:
                self._abandon(ClosingError())
            self._hand_over()
            if rows:
                try:
                    self._ran(rows, seconds)
                except Exception:
                    log.exception("what a forward took could not be told")
            if None in jobs:
                return

    def _abandon(self, error: Exception) -> None:
        """End all that is under way, also what the base does not know of, or fails to end."""
        try:
            self.base.abandon(error)
        except Exception:
            log.exception("the base could not give up what it had")
        for job in list(self._open):
            job.end(error)

    def _hand_over(self) -> None:
        if self._ready:
            ready, self._ready = self._ready, []
            try:
                self._loop.call_soon_threadsafe(_deliver, ready)
            except RuntimeError:  # the loop has ended, and with it all who wait
                log.debug("nobody is there for %d answers", len(ready))


def _deliver(ready: list[tuple[Callable[[Any], None], Any]]) -> None:
    for take, value in ready:
        try:
            take(value)
        except Exception:  # one who cannot take an answer must not cost the others theirs
            log.exception("an answer could not be taken")
