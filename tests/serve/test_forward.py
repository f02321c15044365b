"""The thread of the model and the line in front of it, with a base that counts down."""

from __future__ import annotations

import asyncio
import functools
import logging
import threading
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from serve.errors import ClosingError, QueueFullError
from serve.forward import Forward
from tuner.errors import EngineError, StoreError
from tuner.lora.table import AdapterTable, Opened, Resident
from tuner.tasks.served import Job, ServedBase, ServedFacts


class CountsDown:
    """A base that answers a number after as many steps, a piece in each. A word makes it break a promise: "refuse" (in
    admit), "break" (in a step), "lose", "twice" (it ends the job twice, and tells a piece in between)."""

    facts = ServedFacts("numbers", None, "", (), "cpu", "fp32")
    alone = True

    def __init__(self) -> None:
        self.table = AdapterTable([], torch.device("cpu"), 1)
        self.jobs: list[tuple[Job, int]] = []  # each with the steps it has had
        self.admitted: list[list[Any]] = []
        self.steps = 0
        self.clings = False  # whether it fails to give up what it has
        self.entered, self.go = threading.Semaphore(0), threading.Event()
        self.go.set()

    def open(self, folder: Path) -> Opened:
        raise StoreError(f"{folder} is no number")

    def canary(self) -> Any:
        return 1

    def sound(self, answer: Any) -> bool:
        return bool(answer == 1)

    @property
    def busy(self) -> bool:
        return bool(self.jobs)

    def admit(self, jobs: Sequence[Job]) -> None:
        self.admitted.append([job.ask for job in jobs])
        for job in jobs:
            if job.ask == "refuse":
                raise ValueError("refuse")
            self.jobs.append((job, 0))

    def step(self) -> int:
        self.steps += 1
        jobs, self.jobs, rows = self.jobs, [], 0
        if jobs:
            self.entered.release()
            assert self.go.wait(60)
        for job, had in jobs:
            if job.cancelled:
                job.end(None)
            elif job.ask == "break":
                self.jobs = jobs
                raise ArithmeticError("break")
            elif job.ask == "twice":
                for _ in range(2):
                    job.end("once")
                    if job.piece is not None:
                        job.piece("late")
            elif job.ask != "lose":
                rows += 1
                if job.piece is not None:
                    job.piece(had)
                if had + 1 < job.ask:
                    self.jobs.append((job, had + 1))
                else:
                    job.end(job.ask)
        return rows

    def abandon(self, error: Exception) -> None:
        jobs, self.jobs = self.jobs, []
        if self.clings:
            raise RuntimeError("it clings")
        for job, _ in jobs:
            job.end(error)


class Desk:
    """A forward thread on such a base; `ran` are rows of its steps."""

    def __init__(self, limit: int = 100, ran: Callable[[int, float], None] | None = None) -> None:
        self.base = CountsDown()
        self.adapter: Resident = self.base.table.take_base()
        self.ran: list[int] = []
        served: ServedBase = self.base
        self.forward = Forward(served, limit, ran or (lambda rows, seconds: self.ran.append(rows)))

    def ask(self, ask: Any, piece: Callable[[Any], None] | None = None, **how: Any) -> tuple[Job, asyncio.Future[Any]]:
        """A job, and the future of what it ends with, which refuses a second end."""
        done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        return self.forward.submit(ask, self.adapter, done.set_result, piece, **how), done

    async def answer(self, ask: Any) -> Any:
        async with asyncio.timeout(60):
            return await self.ask(ask)[1]

    async def held(self) -> None:
        """Let the next step wait for `base.go`, and wait until it does, with a job of two steps in it."""
        self.base.go.clear()
        self.ask(2)
        assert await asyncio.to_thread(self.base.entered.acquire, timeout=60)


def in_loop(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    @functools.wraps(test)
    def run() -> None:
        asyncio.run(test())

    del run.__wrapped__  # type: ignore[attr-defined]  # pytest would take it for the test
    return run


async def all_of(*done: Awaitable[Any]) -> list[Any]:
    async with asyncio.timeout(60):
        return list(await asyncio.gather(*done))


@in_loop
async def test_a_job_is_answered_with_its_pieces_in_order() -> None:
    desk = Desk()
    pieces: list[Any] = []
    threads: set[int] = set()

    def piece(value: Any) -> None:
        pieces.append(value)
        threads.add(threading.get_ident())

    _, done = desk.ask(5, piece)
    assert await all_of(done) == [5]
    assert pieces == [0, 1, 2, 3, 4]
    assert threads == {threading.get_ident()}, "in the loop's own"
    assert desk.forward.under_way == 0
    await desk.forward.close(60)
    assert desk.ran == [1] * 5


@in_loop
async def test_what_queues_while_a_step_runs_joins_the_next_one() -> None:
    desk = Desk()
    await desk.held()
    done = [desk.ask(1)[1] for _ in range(7)]
    desk.base.go.set()
    assert await all_of(*done) == [1] * 7
    await desk.forward.close(60)
    assert desk.base.admitted == [[2], [1] * 7]
    assert desk.ran == [1, 8]


@in_loop
async def test_what_a_step_made_ready_comes_in_one_delivery() -> None:
    """Everybody has their answer before the loop turns again."""
    desk = Desk()
    await desk.held()
    seen: list[int] = []
    turns = 0
    stop = asyncio.Event()

    def end(_: Any) -> None:
        seen.append(turns)
        if len(seen) == 20:
            stop.set()

    for _ in range(20):
        desk.forward.submit(1, desk.adapter, end, None)
    desk.base.go.set()
    async with asyncio.timeout(60):
        while not stop.is_set():
            turns += 1
            await asyncio.sleep(0)
    assert len(set(seen)) == 1
    await desk.forward.close(60)


@in_loop
async def test_an_idle_thread_sleeps() -> None:
    """Steps are as many as jobs need, and no more until somebody asks again."""
    desk = Desk()
    for _ in range(3):
        assert await desk.answer(2) == 2
    await desk.forward.close(60)
    assert desk.base.steps == 3 * 2 + 1, "the last is that of its closing"


@in_loop
async def test_the_line_is_limited() -> None:
    desk = Desk(limit=3)
    await desk.held()
    done = [desk.ask(1)[1] for _ in range(2)]
    with pytest.raises(QueueFullError, match="3 requests are under way") as caught:
        desk.ask(1)
    assert caught.value.retry_after is not None
    assert caught.value.retry_after >= 1
    done.append(desk.ask(1, counted=False)[1])
    assert desk.forward.under_way == 4
    desk.base.go.set()
    assert await all_of(*done) == [1] * 3
    assert await desk.answer(1) == 1
    await desk.forward.close(60)


@in_loop
async def test_a_cancelled_job_ends_with_nothing() -> None:
    desk = Desk()
    await desk.held()
    (job, done), (_, other) = desk.ask(9), desk.ask(3)
    job.cancelled = True
    desk.base.go.set()
    assert await all_of(done, other) == [None, 3]
    await desk.forward.close(60)


@pytest.mark.parametrize("word", ["break", "refuse"])
def test_an_error_ends_all_with_it_and_the_next_job_is_answered(word: str) -> None:
    async def run() -> None:
        desk = Desk()
        await desk.held()
        done = [desk.ask(ask)[1] for ask in (4, word, 3)]
        desk.base.go.set()
        errors = await all_of(*done)
        assert {str(error) for error in errors} == {word}
        assert desk.forward.under_way == 0
        assert desk.forward.alive, "it may have been what was asked"
        assert await desk.answer(2) == 2
        await desk.forward.close(60)

    asyncio.run(run())


@in_loop
async def test_a_model_that_fails_again_and_again_is_not_alive() -> None:
    desk = Desk()
    for alive in (True, True, False, False):
        assert isinstance(await desk.answer("break"), ArithmeticError)
        assert desk.forward.alive == alive
    assert isinstance(desk.forward.failed, ArithmeticError)
    assert await desk.answer(1) == 1
    await desk.answer(1)  # what the first one says is told before the thread says so of itself
    assert desk.forward.failed is None
    for _ in range(2):
        await desk.answer("break")
    assert desk.forward.alive
    await desk.forward.close(60)
    assert not desk.forward.alive


@in_loop
async def test_a_base_that_fails_to_give_up_costs_nobody_their_end() -> None:
    desk = Desk()
    desk.base.clings = True
    await desk.held()
    done = [desk.ask(ask)[1] for ask in (4, "break", 3)]
    desk.base.go.set()
    assert {str(error) for error in await all_of(*done)} == {"break"}
    desk.base.clings = False
    assert await desk.answer(2) == 2
    await desk.forward.close(60)


@in_loop
async def test_a_job_that_the_base_forgets_ends_with_an_error() -> None:
    desk = Desk()
    found = await desk.answer("lose")
    assert isinstance(found, EngineError)
    assert await desk.answer(2) == 2
    await desk.forward.close(60)


@in_loop
async def test_nothing_comes_after_the_end() -> None:
    desk = Desk()
    told: list[Any] = []
    job = desk.forward.submit("twice", desk.adapter, told.append, told.append)
    assert await desk.answer(3) == 3
    assert told == ["once"]
    assert desk.forward.under_way == 0
    job.cancelled = True
    await desk.forward.close(60)
    assert told == ["once"]


@pytest.mark.parametrize("kind", ["end", "piece", "future"])
def test_one_who_cannot_take_an_answer_costs_nobody_theirs(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> None:
        desk = Desk()
        await desk.held()

        def fails(_: Any) -> None:
            raise ZeroDivisionError

        before = desk.ask(1)[1]
        if kind == "end":
            desk.forward.submit(1, desk.adapter, fails, None)
        elif kind == "piece":
            desk.ask(1, fails)
        else:
            desk.ask(1)[1].cancel()  # its set_result raises
        after = desk.ask(1)[1]
        desk.base.go.set()
        assert await all_of(before, after) == [1, 1]
        assert await desk.answer(1) == 1
        await desk.forward.close(60)
        assert desk.forward.under_way == 0

    asyncio.run(run())
    assert "an answer could not be taken" in caplog.text


@in_loop
async def test_what_listens_to_steps_may_fail() -> None:
    def ran(rows: int, seconds: float) -> None:
        raise ZeroDivisionError

    desk = Desk(ran=ran)
    for _ in range(2):
        assert await desk.answer(1) == 1
    assert desk.forward.alive
    await desk.forward.close(60)


@in_loop
async def test_closing_waits_for_what_is_under_way() -> None:
    desk = Desk()
    await desk.held()
    done = desk.ask(6)[1]
    closing = asyncio.ensure_future(desk.forward.close(60))
    await asyncio.sleep(0)
    with pytest.raises(ClosingError):
        desk.ask(1)
    desk.base.go.set()
    await all_of(closing)
    assert done.result() == 6
    assert not desk.forward.alive
    await desk.forward.close(60)


@in_loop
async def test_closing_gives_up_what_takes_too_long() -> None:
    desk = Desk()
    never, more = desk.ask(10**9)[1], desk.ask(10**9)[1]
    assert await asyncio.to_thread(desk.base.entered.acquire, timeout=60)
    closing = asyncio.ensure_future(desk.forward.close(0.01))
    found = await all_of(never, more)
    assert all(isinstance(error, ClosingError) for error in found)
    await all_of(closing)
    assert desk.forward.under_way == 0
    await asyncio.to_thread(desk.forward._thread.join, 60)
    assert not desk.forward.alive


@in_loop
async def test_closing_an_idle_one() -> None:
    desk = Desk()
    await desk.forward.close(60)
    assert not desk.forward.alive
    with pytest.raises(ClosingError):
        desk.ask(1)


def test_a_loop_that_is_gone_does_not_stop_the_thread(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    desks: list[Desk] = []

    async def run() -> None:
        desks.append(Desk())
        await desks[0].held()

    asyncio.run(run())
    forward = desks[0].forward
    desks[0].base.go.set()
    forward._line.put(None)
    forward._thread.join(60)
    assert not forward.alive
    assert "nobody is there for 1 answers" in caplog.text
    assert not [record for record in caplog.records if record.levelno > logging.WARNING]


@in_loop
async def test_many_jobs_from_many_tasks() -> None:
    desk = Desk(limit=1000)

    async def client(number: int) -> list[Any]:
        return [await desk.answer(1 + (number + turn) % 4) for turn in range(20)]

    found = await all_of(*(client(number) for number in range(30)))
    assert found == [[1 + (number + turn) % 4 for turn in range(20)] for number in range(30)]
    await desk.forward.close(60)
    assert sum(desk.ran) == sum(1 + (number + turn) % 4 for number in range(30) for turn in range(20))
    assert len(desk.ran) < sum(desk.ran) / 4, "steps are shared"
