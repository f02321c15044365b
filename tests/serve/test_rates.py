"""The rate limit: never more than it says whatever the replicas do, few questions to the desk, and life without it."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve.desk import Desk
from serve.keys import ApiKey
from serve.rates import Bucket, DeskLike, Lease, Limiter

ticks = st.lists(st.tuples(st.integers(0, 2), st.floats(0, 3), st.integers(1, 30)), max_size=60)


class Clock:
    """A time that the test sets."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Counting:
    """A desk that counts what it is asked, and can be cut off."""

    def __init__(self, desk: DeskLike) -> None:
        self.desk = desk
        self.asked = 0
        self.cut: type[Exception] | None = None

    async def lease(self, replica: str, key: str, rate: float, want: int) -> Lease:
        self.asked += 1
        if self.cut is ConnectionError:
            raise ConnectionError("cut off")
        if self.cut is TimeoutError:
            await asyncio.Event().wait()
        return await self.desk.lease(replica, key, rate, want)

    async def report(self, replica: str, text: bytes) -> None:
        raise NotImplementedError

    async def reports(self) -> dict[str, bytes]:
        raise NotImplementedError


def api_key(rate: int | None, name: str = "ci") -> ApiKey:
    return ApiKey(
        id=name.encode().hex().ljust(16, "0"), name=name, hash="0" * 64, scopes=frozenset(), created=0, rate=rate
    )


@given(st.integers(1, 2000), ticks)
def test_a_bucket_never_gives_more_than_its_rate_and_burst(rate: int, steps: list[tuple[int, float, int]]) -> None:
    now, given_out = 0.0, 0
    bucket = Bucket(rate, now)
    for _, passed, want in steps:
        now += passed
        given_out += bucket.take(want, now)
        assert given_out <= rate * now / 60 + rate + 1e-6
    now += bucket.wait_s(now) + 1e-6
    assert bucket.take(1, now) == 1


@given(st.integers(1, 2000), ticks)
def test_replicas_together_never_admit_more(rate: int, steps: list[tuple[int, float, int]]) -> None:
    clock = Clock()
    desk = Desk(clock)
    limiters = [Limiter(desk, f"r{number}", None, lambda: None, clock) for number in range(3)]

    async def drive() -> None:
        begun, admitted = clock.now, 0
        for which, passed, count in steps:
            clock.now += passed
            waits = await asyncio.gather(*(limiters[which].admit(api_key(rate)) for _ in range(count)))
            admitted += waits.count(0.0)
            assert admitted <= rate * (clock.now - begun) / 60 + rate + 1e-6

    asyncio.run(drive())


def test_the_desk_is_asked_about_ten_times_a_second() -> None:
    clock = Clock()
    desk = Counting(Desk(clock))
    limiter = Limiter(desk, "r", None, lambda: None, clock)

    async def drive() -> int:
        admitted = 0
        for _ in range(10_000):  # ten seconds at the key's full rate
            clock.now += 0.001
            admitted += await limiter.admit(api_key(60_000)) == 0.0
        return admitted

    assert asyncio.run(drive()) == 10_000
    assert desk.asked <= 110


def test_what_a_replica_did_not_spend_in_a_second_is_gone() -> None:
    clock = Clock()
    desk = Counting(Desk(clock))
    limiter = Limiter(desk, "r", None, lambda: None, clock)

    async def drive() -> list[int]:
        asked = []
        for passed in (0, 0.9, 0.2):
            clock.now += passed
            assert await limiter.admit(api_key(6000)) == 0.0
            asked.append(desk.asked)
        return asked

    assert asyncio.run(drive()) == [1, 1, 2], "a lease of ten tokens, two of them used, is not kept for later"


def test_a_flood_over_the_limit_does_not_reach_the_desk() -> None:
    clock = Clock()
    desk = Counting(Desk(clock))
    limiter = Limiter(desk, "r", 60, lambda: None, clock)

    async def drive() -> list[float]:
        return [await limiter.admit(api_key(None)) for _ in range(1000)]

    waits = asyncio.run(drive())
    assert waits.count(0.0) == 60, "a minute's worth at once, by the default rate"
    assert 0 < waits[-1] <= 1.0
    assert desk.asked < 12
    clock.now += waits[-1] + 1e-6
    assert asyncio.run(limiter.admit(api_key(None))) == 0.0


def test_requests_at_the_same_time_share_one_question() -> None:
    clock = Clock()
    desk = Counting(Desk(clock))
    limiter = Limiter(desk, "r", None, lambda: None, clock)

    async def drive() -> list[float]:
        return await asyncio.gather(*(limiter.admit(api_key(6000)) for _ in range(10)))

    assert asyncio.run(drive()) == [0.0] * 10
    assert desk.asked == 1


def test_no_rate_is_no_limit_and_keys_do_not_share() -> None:
    clock = Clock()
    desk = Counting(Desk(clock))
    limiter = Limiter(desk, "r", None, lambda: None, clock)
    assert asyncio.run(limiter.admit(api_key(None))) == 0.0
    assert desk.asked == 0
    assert [asyncio.run(limiter.admit(api_key(1, name))) > 0 for name in ("a", "a", "b", "b")] == [
        False,
        True,
        False,
        True,
    ]


@pytest.mark.parametrize("cut", [ConnectionError, TimeoutError])
def test_without_a_desk_a_replica_goes_on_with_its_share(cut: type[Exception]) -> None:
    clock = Clock()
    desk = Counting(Desk(clock))
    failures: list[float] = []
    limiter = Limiter(desk, "one", None, lambda: failures.append(clock.now), clock)
    other = Limiter(desk, "two", None, lambda: None, clock)

    async def drive(count: int) -> int:
        return sum([await limiter.admit(api_key(20)) == 0.0 for _ in range(count)])

    assert asyncio.run(other.admit(api_key(20))) == 0.0
    assert asyncio.run(drive(1)) == 1
    desk.cut = cut
    clock.now += 2
    asked = desk.asked
    assert asyncio.run(drive(50)) == 10, "half of the rate, since two replicas share it"
    assert (desk.asked - asked, len(failures)) == (1, 1), "a desk that is away is left alone for a second"
    clock.now += 6  # a share of 10 a minute is one in 6 seconds
    assert asyncio.run(drive(5)) == 1
    assert len(failures) == 2
    desk.cut = None
    clock.now += 60
    assert asyncio.run(drive(1)) == 1
    assert len(failures) == 2
