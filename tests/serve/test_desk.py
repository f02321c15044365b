"""The desk, in this process and as a Ray actor: one contract for both."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest

from cluster.connect import connected
from serve.desk import NAME, Desk, RemoteDesk
from serve.rates import DeskLike, Lease, Limiter
from tests.serve.test_rates import Clock, api_key


@pytest.fixture(scope="module")
def ray_is_up() -> Iterator[None]:
    with connected():
        yield


@dataclass
class Case:
    """How to come by a desk that other callers share."""

    reach: Callable[[], DeskLike]


@pytest.fixture(params=["here", pytest.param("ray", marks=pytest.mark.slow)])
def case(request: pytest.FixtureRequest) -> Iterator[Case]:
    if request.param == "here":
        desk = Desk()
        yield Case(lambda: desk)
        return
    request.getfixturevalue("ray_is_up")
    namespace = f"test-{uuid4().hex}"
    yield Case(lambda: RemoteDesk(namespace))
    import ray

    ray.kill(ray.get_actor(NAME, namespace=namespace))


def together(*calls: Awaitable[Any]) -> list[Any]:
    """The results of calls, made one after the other in one event loop."""

    async def run() -> list[Any]:
        return [await call for call in calls]

    return asyncio.run(run())


def test_leases_come_out_of_one_bucket_a_key(case: Case) -> None:
    one, two = case.reach(), case.reach()
    first, second, third, other = together(
        one.lease("r1", "key", 10, 7),
        two.lease("r2", "key", 10, 7),
        one.lease("r1", "key", 10, 7),
        one.lease("r1", "other", 10, 7),
    )
    assert (first.tokens, second.tokens, third.tokens, other.tokens) == (7, 3, 0, 7)
    assert (first.replicas, second.replicas) == (1, 2)
    assert first.wait_s == 0.0
    assert 0 < third.wait_s <= 6


def test_reports_of_replicas(case: Case) -> None:
    desk = case.reach()
    *_, found = together(
        desk.report("r2", b"two"), desk.report("r1", b"old"), desk.report("r1", b"new"), case.reach().reports()
    )
    assert found == {"r1": b"new", "r2": b"two"}


def test_a_limiter_spends_its_leases(case: Case) -> None:
    failures: list[None] = []
    desk = case.reach()
    limiter = Limiter(desk, "r", 3, lambda: failures.append(None))

    async def admit() -> list[bool]:
        await desk.reports()  # an actor takes longer to come up than a limiter waits
        return [await limiter.admit(api_key(None)) == 0.0 for _ in range(5)]

    admitted = asyncio.run(admit())
    assert admitted[:3] == [True] * 3
    # A machine that is busy may let 50 ms pass: then the replica went on with its own share.
    assert failures or admitted[3:] == [False] * 2


def test_who_is_silent_is_forgotten() -> None:
    clock = Clock()
    desk = Desk(clock)
    together(desk.report("r1", b"one"), desk.lease("r1", "key", 60, 1))
    clock.now += 20
    together(desk.report("r2", b"two"), desk.lease("r2", "key", 60, 1))
    clock.now += 20
    assert together(desk.reports()) == [{"r2": b"two"}]
    assert together(desk.lease("r2", "key", 60, 1))[0].replicas == 1


def test_a_changed_rate_is_followed() -> None:
    desk = Desk(Clock())
    leases: list[Lease] = together(
        desk.lease("r", "key", 100, 10), desk.lease("r", "key", 20, 100), desk.lease("r", "key", 200, 100)
    )
    assert [lease.tokens for lease in leases] == [10, 20, 0]


@pytest.mark.slow
def test_a_desk_that_died_is_found_again(ray_is_up: None) -> None:
    import ray

    namespace = f"test-{uuid4().hex}"
    desk = RemoteDesk(namespace)

    async def run() -> tuple[int, dict[str, bytes]]:
        await desk.report("r", b"text")
        ray.kill(ray.get_actor(NAME, namespace=namespace))
        lost = 0
        while True:
            try:
                found = await desk.reports()
            except ConnectionError:
                lost += 1
            else:
                if not found:  # till then it is the old one that answers: it ends some time after it is told to
                    return lost, found

    lost, found = asyncio.run(run())
    assert lost >= 1
    assert found == {}, "the new one knows nothing of the old"
    ray.kill(ray.get_actor(NAME, namespace=namespace))
