"""Requests a minute of a key, over all replicas: each replica spends leases that a desk hands out of one bucket a key.

A lease holds what the key may use in a tenth of a second, more when it was used up sooner, so a busy replica asks about
ten times a second and not at every request. A key may use its whole minute at once; after that it gets rate / 60 a
second. A desk that does not answer within 50 ms is left alone for a second, and the replica goes on with its own share
of the rate: a limit that is somewhat loose harms less than a service that is away. Knows nothing of HTTP and Ray.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from serve.keys import ApiKey

Clock = Callable[[], float]

PATIENCE_S = 0.05
_LEASE_S = 0.1  # of the key's rate that a lease holds at first
_LIFE_S = 1.0  # tokens that a replica did not spend by then are gone: they may not pile up over the burst
_PAUSE_S = 1.0


@dataclass(frozen=True, slots=True)
class Lease:
    """What a desk grants: tokens, one a request; if there are none, the seconds until the next; and how many replicas
    have asked of late, which tells a replica its share when the desk is away."""

    tokens: int
    wait_s: float
    replicas: int


class DeskLike(Protocol):
    """What replicas share: one bucket a key, and everybody's metrics."""

    async def lease(self, replica: str, key: str, rate: float, want: int) -> Lease:
        """Up to `want` tokens for a key id of `rate` requests a minute. Raises ConnectionError if there is no desk."""
        ...

    async def report(self, replica: str, text: bytes) -> None:
        """Keep a replica's newest metrics. Raises ConnectionError if there is no desk."""
        ...

    async def reports(self) -> dict[str, bytes]:
        """The newest metrics of every replica that reported of late, by replica. Raises ConnectionError."""
        ...


class Bucket:
    """A token bucket: `rate` tokens a minute flow in, a minute's worth fits. `now` is in seconds."""

    def __init__(self, rate: float, now: float) -> None:
        self.rate = rate
        self._tokens = self._burst = max(1.0, rate)
        self._at = now

    def take(self, want: int, now: float) -> int:
        """Take up to `want` whole tokens; how many there were."""
        self._fill(now)
        given = min(want, int(self._tokens))
        self._tokens -= given
        return given

    def wait_s(self, now: float) -> float:
        """Seconds until there is a whole token."""
        self._fill(now)
        return max(0.0, 1.0 - self._tokens) * 60.0 / self.rate

    def change_rate(self, rate: float, now: float) -> None:
        """Go on at another rate, with what is left of the tokens."""
        self._fill(now)
        self.rate = rate
        self._burst = max(1.0, rate)
        self._tokens = min(self._tokens, self._burst)

    def _fill(self, now: float) -> None:
        self._tokens = min(self._burst, self._tokens + max(0.0, now - self._at) * self.rate / 60.0)
        self._at = max(self._at, now)


class _Held:
    """What a replica holds for one key."""

    __slots__ = ("asked_at", "asking", "refused_until", "share", "tokens", "want")

    def __init__(self) -> None:
        self.tokens = 0
        self.asked_at = -math.inf
        self.refused_until = -math.inf
        self.want = 0
        self.share: Bucket | None = None
        self.asking = asyncio.Lock()


class Limiter:
    """The rate limit of one replica. `default_rate`, in requests a minute, is for keys that name none; None means no
    limit for them. `on_failure` is called each time that the desk does not answer."""

    def __init__(
        self,
        desk: DeskLike,
        replica: str,
        default_rate: int | None,
        on_failure: Callable[[], None],
        clock: Clock = time.monotonic,
    ) -> None:
        self._desk = desk
        self._replica = replica
        self._default = default_rate
        self._on_failure = on_failure
        self._clock = clock
        self._held: dict[str, _Held] = {}
        self._replicas = 1
        self._alone_until = -math.inf

    async def admit(self, key: ApiKey) -> float:
        """0.0 if the key may make a request now; else the seconds until it may."""
        rate = key.rate or self._default
        if rate is None:
            return 0.0
        held = self._held.get(key.id)
        if held is None:
            held = self._held[key.id] = _Held()
        verdict = self._at_once(held)
        if verdict is not None:
            return verdict
        async with held.asking:  # one asks, and those who waited find its lease
            verdict = self._at_once(held)
            if verdict is not None:
                return verdict
            return await self._ask(held, key.id, rate)

    def _at_once(self, held: _Held) -> float | None:
        """The answer where it is known without the desk."""
        now = self._clock()
        if held.tokens and now < held.asked_at + _LIFE_S:
            held.tokens -= 1
            return 0.0
        return held.refused_until - now if now < held.refused_until else None

    async def _ask(self, held: _Held, key: str, rate: int) -> float:
        now = self._clock()
        if now < self._alone_until:
            return self._from_share(held, rate)
        usual = max(1, math.ceil(rate / 60.0 * _LEASE_S))
        held.want = min(2 * held.want, rate) if now < held.asked_at + _LEASE_S and held.want else usual
        held.tokens, held.asked_at = 0, now
        try:
            async with asyncio.timeout(PATIENCE_S):
                lease = await self._desk.lease(self._replica, key, rate, held.want)
        except (TimeoutError, ConnectionError):
            self._alone_until = self._clock() + _PAUSE_S
            self._on_failure()
            return self._from_share(held, rate)
        self._replicas = max(1, lease.replicas)
        if lease.tokens:
            held.tokens = lease.tokens - 1
            return 0.0
        held.refused_until = now + lease.wait_s
        return lease.wait_s

    def _from_share(self, held: _Held, rate: int) -> float:
        now = self._clock()
        share = rate / self._replicas
        if held.share is None:
            held.share = Bucket(share, now)
        elif held.share.rate != share:
            held.share.change_rate(share, now)
        return 0.0 if held.share.take(1, now) else held.share.wait_s(now)
