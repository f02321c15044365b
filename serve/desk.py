"""The desk that the replicas of one cluster share: rate buckets by key, and the newest metrics of every replica.

`Desk` is a plain object, for one process and for tests. On Ray it is a detached actor, found or made by its name, and
`RemoteDesk` is the way to it. The desk knows key ids, never keys; when its actor is started again the buckets are full.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from serve.rates import Bucket, Clock, Lease

NAME = "serve-desk"

_RECENT_S = 30.0
_Answer = TypeVar("_Answer")


class Desk:
    """A desk in this process. See `serve.rates.DeskLike` for what its methods do; `clock` is in seconds."""

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._buckets: dict[str, Bucket] = {}
        self._heard: dict[str, float] = {}
        self._texts: dict[str, tuple[float, bytes]] = {}

    async def lease(self, replica: str, key: str, rate: float, want: int) -> Lease:
        """Up to `want` tokens from the key's bucket, which is full at first and follows a changed rate."""
        now = self._clock()
        self._heard[replica] = now
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = Bucket(rate, now)
        elif bucket.rate != rate:
            bucket.change_rate(rate, now)
        tokens = bucket.take(want, now)
        return Lease(tokens, 0.0 if tokens else bucket.wait_s(now), self._replicas(now))

    async def report(self, replica: str, text: bytes) -> None:
        """Keep a replica's newest metrics."""
        self._texts[replica] = (self._clock(), text)

    async def reports(self) -> dict[str, bytes]:
        """What replicas reported within the last 30 seconds; who is silent for longer is gone."""
        now = self._clock()
        self._texts = {name: kept for name, kept in self._texts.items() if now - kept[0] <= _RECENT_S}
        return {name: text for name, (_, text) in sorted(self._texts.items())}

    def _replicas(self, now: float) -> int:
        self._heard = {name: at for name, at in self._heard.items() if now - at <= _RECENT_S}
        return len(self._heard)


def find_desk(namespace: str) -> Any:
    """The actor of a namespace's desk, made if there is none. Ray must be connected; Ray's own errors are raised."""
    import ray

    options = {"name": NAME, "namespace": namespace, "lifetime": "detached", "get_if_exists": True}
    # It needs no core, outlives whoever made it, and is started again for as long as the cluster lives.
    return ray.remote(Desk).options(**options, num_cpus=0, max_restarts=-1).remote()


class RemoteDesk:
    """The desk of a Ray namespace, with the methods of `DeskLike`. It is found at the first call, and again when it was
    lost, beside the event loop: finding it blocks."""

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace
        self._finding: asyncio.Task[Any] | None = None

    async def lease(self, replica: str, key: str, rate: float, want: int) -> Lease:
        """See `DeskLike.lease`."""
        return await self._call(lambda desk: desk.lease.remote(replica, key, rate, want))

    async def report(self, replica: str, text: bytes) -> None:
        """See `DeskLike.report`."""
        await self._call(lambda desk: desk.report.remote(replica, text))

    async def reports(self) -> dict[str, bytes]:
        """See `DeskLike.reports`."""
        return await self._call(lambda desk: desk.reports.remote())

    async def _call(self, ask: Callable[[Any], Awaitable[_Answer]]) -> _Answer:
        from ray.exceptions import RayError

        finding = self._finding
        if finding is None:
            finding = self._finding = asyncio.create_task(asyncio.to_thread(find_desk, self._namespace))
        try:
            # Shielded: a caller who has no more patience must not make the next one begin anew.
            return await ask(await asyncio.shield(finding))
        except (RayError, RuntimeError, ValueError) as error:
            if self._finding is finding:
                self._finding = None
            raise ConnectionError(f"the desk cannot be reached: {type(error).__name__}") from error
