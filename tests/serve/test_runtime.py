"""Requests on their way through: every one of them lets go of its adapter, however it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from serve.desk import Desk
from serve.errors import AdapterFailedError, ClosingError, QueueFullError, TooSlowError
from serve.runtime import Answered, Stream
from serve.service import Service
from serve.settings import ServeSettings, TaskSettings
from tests.serve import toy
from tests.serve.toy import Adapters, ask, called, held, promote, serving, until, unused, users
from tests.tasks.shoe_qa import toy as chat
from tuner.registry import AdapterName, Origin, Registry, Version
from tuner.tasks.shoe_qa.asking import AskChat

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # PEFT's
TEXT = toy.TEXTS[0]


@pytest.fixture
def version(registry: Registry, adapters: Adapters) -> Version:
    return promote(registry, adapters.folders[0])


async def submitted(service: Service, count: int) -> None:
    """Wait until so many asks are under way."""
    await until(lambda: service.runtime.under_way >= count)


def test_answers_of_one_request(registry: Registry, adapters: Adapters, version: Version) -> None:
    async def main() -> None:
        async with serving(registry, adapters.base) as service:
            found = await service.runtime.answers(toy.TEXTS, None)
            assert {each.adapter for each in found} == {called(version)}
            assert [toy.probability_of_one(each.value) for each in found] == pytest.approx(
                [adapters.reference[0][text] for text in toy.TEXTS], abs=1e-5
            )
            assert all(each.seconds > 0 for each in found)
            wanted = f'serve_adapter_rows_total{{adapter="{called(version)}",app="sentiment"}} {len(toy.TEXTS)}.0'
            assert wanted.encode() in service._meters.exposition()

    asyncio.run(main())


def test_a_full_line(registry: Registry, adapters: Adapters, version: Version) -> None:
    async def main() -> None:
        async with serving(registry, adapters.base, queue=2) as service:
            with held(service):
                waiting = [asyncio.create_task(ask(service)) for _ in range(1)]
                await submitted(service, 1)
                # several texts of one request are one in line: all of them have a place, or none has
                waiting.append(asyncio.create_task(_all(service, toy.TEXTS[:5])))
                await submitted(service, 6)
                for refused in (ask(service), _all(service, toy.TEXTS), service.runtime.stream(TEXT, None)):
                    with pytest.raises(QueueFullError) as caught:
                        await refused
                    assert caught.value.retry_after is not None
                    assert caught.value.retry_after >= 1
                assert users(service) == {called(version): 2}
            await asyncio.gather(*waiting)

    asyncio.run(main())


async def _all(service: Service, texts: list[str]) -> Any:
    return await service.runtime.answers(texts, None)


def test_too_slow(registry: Registry, adapters: Adapters, version: Version) -> None:
    async def main() -> None:
        async with serving(registry, adapters.base, timeout_s=0.05) as service:
            with held(service):
                with pytest.raises(TooSlowError):
                    await _all(service, toy.TEXTS[:3])
                assert users(service) == {called(version): 1}  # until it has left the model
            await unused(service)
            assert (await ask(service))[0] == called(version)

    asyncio.run(main())


def test_a_client_that_leaves(registry: Registry, adapters: Adapters, version: Version) -> None:
    async def main() -> None:
        async with serving(registry, adapters.base) as service:
            with held(service):
                leaving = asyncio.create_task(_all(service, toy.TEXTS[:3]))
                await submitted(service, 3)
                leaving.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await leaving
                assert users(service) == {called(version): 1}

    asyncio.run(main())


def test_a_forward_that_fails(registry: Registry, adapters: Adapters, version: Version) -> None:
    async def main() -> None:
        async with serving(registry, adapters.base) as service:
            with held(service, RuntimeError(f"about {TEXT}")):
                waiting = [asyncio.create_task(ask(service)), asyncio.create_task(_all(service, toy.TEXTS[:3]))]
                await submitted(service, 4)
            for task in waiting:
                with pytest.raises(AdapterFailedError) as caught:
                    await task
                assert TEXT not in str(caught.value)
            await unused(service)
            assert (await ask(service))[0] == called(version)
            assert service.runtime.trouble == ""

    asyncio.run(main())


def test_closing(registry: Registry, adapters: Adapters, version: Version) -> None:
    """What is under way is answered, what comes behind is refused."""

    async def main() -> None:
        async with serving(registry, adapters.base) as service:
            with held(service):
                waiting = asyncio.create_task(ask(service))
                await submitted(service, 1)
                closing = asyncio.create_task(service.close())
                await asyncio.sleep(0)
                while not service._forward._closing:
                    await asyncio.sleep(0)
                with pytest.raises(ClosingError):
                    await ask(service)
                assert not waiting.done()
            assert (await waiting)[0] == called(version)
            await closing

    asyncio.run(main())


async def _good(service: Service) -> None:
    await ask(service)


async def _one_bad(service: Service) -> None:
    await service.runtime.answers([*toy.TEXTS[:3], 5], None)  # the tokenizer reads no numbers


async def _unknown(service: Service) -> None:
    await ask(service, "nobody")


async def _cancelled(service: Service) -> None:
    task = asyncio.create_task(ask(service, "second"))
    await asyncio.sleep(0)
    task.cancel()
    await task


async def _stream_unread(service: Service) -> None:
    await service.runtime.stream(TEXT, None)


async def _stream_read(service: Service) -> None:
    stream = await service.runtime.stream(TEXT, "second")
    async for _ in stream:
        pass
    assert stream.value is not None


async def _stream_closed(service: Service) -> None:
    await (await service.runtime.stream(TEXT, None)).aclose()


async def _evicted(service: Service) -> None:
    table = service.runtime.base.table
    for key in table.keys():  # noqa: SIM118  it is no mapping
        table.drop(key)


WAYS: tuple[Callable[[Service], Awaitable[None]], ...] = (
    _good,
    _one_bad,
    _unknown,
    _cancelled,
    _stream_unread,
    _stream_read,
    _stream_closed,
    _evicted,
)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ways=st.lists(st.sampled_from(WAYS), min_size=1, max_size=25), timeout_s=st.sampled_from([0.002, 10.0]))
def test_every_way_lets_go(
    registry: Registry, adapters: Adapters, ways: list[Callable[[Service], Awaitable[None]]], timeout_s: float
) -> None:
    promote(registry, adapters.folders[0])
    promote(registry, adapters.folders[1], "second")

    async def main() -> None:
        async with serving(registry, adapters.base, timeout_s=timeout_s, queue=8) as service:
            ended = await asyncio.gather(*(way(service) for way in ways), return_exceptions=True)
            for way, error in zip(ways, ended, strict=True):
                allowed = (TooSlowError, QueueFullError, AdapterFailedError, asyncio.CancelledError)
                assert error is None or isinstance(error, allowed) or way is _unknown, repr(error)

    asyncio.run(main())


# ---- answers that come in pieces, by a base that speaks


@pytest.fixture(scope="module")
def speaking(tmp_path_factory: pytest.TempPathFactory) -> ServeSettings:
    root = tmp_path_factory.mktemp("speaking")
    base = chat.make_base(root / "base")
    folder = chat.save(chat.trained(base, chat.make_splits("")), root / "adapter", "a")
    Registry(root / "registry").promote(
        folder,
        AdapterName("shoe_qa", "mold"),
        origin=Origin(str(base)),
        alias="champion",
        check=lambda _: None,
        by=toy.BY,
    )
    tasks = {"shoe_qa": TaskSettings(base_model=str(base), device="cpu", threads=1, timeout_s=60)}
    return ServeSettings(registry=root / "registry", keys=root / "keys.json", development=True, tasks=tasks)


def asked(limit: int = 12) -> AskChat:
    return AskChat(({"role": "user", "content": chat.make_splits().test[0].question},), limit=limit)


def spoken(settings: ServeSettings, use: Callable[[Service], Awaitable[None]], **task: Any) -> None:
    """Use a service that speaks; no request may have left a user behind."""
    own = settings.tasks["shoe_qa"].model_copy(update=task)
    changed = settings.model_copy(update={"tasks": {"shoe_qa": own}})

    async def main() -> None:
        service = await Service.start("shoe_qa", changed, Desk(), "shoe-qa#one")
        try:
            await use(service)
            await unused(service)
        finally:
            await service.close()

    asyncio.run(main())


def test_pieces_in_order_then_the_value(speaking: ServeSettings) -> None:
    async def use(service: Service) -> None:
        whole: Answered = await service.runtime.answer(asked(), None)
        stream = await service.runtime.stream(asked(), None)
        pieces = [piece async for piece in stream]
        assert stream.value == whole.value
        assert stream.adapter == whole.adapter
        assert "".join(piece for piece in pieces if isinstance(piece, str)) == whole.value.text

    spoken(speaking, use)


def test_a_stream_that_is_left_early(speaking: ServeSettings) -> None:
    async def use(service: Service) -> None:
        stream = await service.runtime.stream(asked(900), None)
        pieces = aiter(stream)
        await anext(pieces)
        await pieces.aclose()
        assert stream._job.cancelled
        await unused(service)
        closed = await service.runtime.stream(asked(900), None)
        await closed.aclose()
        await unused(service)
        assert [piece async for piece in closed if isinstance(piece, str)] in ([], [""])
        assert closed.value is None

    spoken(speaking, use)


def test_a_stream_that_is_too_slow(speaking: ServeSettings) -> None:
    async def use(service: Service) -> None:
        with held(service):
            read, unread = [await service.runtime.stream(asked(), None) for _ in range(2)]
            with pytest.raises(TooSlowError):
                [piece async for piece in read]
            await until(lambda: unread._job.cancelled)  # though nobody reads it

    spoken(speaking, use, timeout_s=0.1)


def test_a_stream_whose_model_fails(speaking: ServeSettings) -> None:
    async def use(service: Service) -> None:
        stream = await service.runtime.stream(asked(900), None)
        pieces = aiter(stream)
        await anext(pieces)
        with held(service, RuntimeError("secret words")):
            pass
        with pytest.raises(AdapterFailedError) as caught:
            [piece async for piece in pieces]
        assert "secret" not in str(caught.value)

    spoken(speaking, use)


def test_a_stream_ends_when_the_server_does(speaking: ServeSettings) -> None:
    async def main() -> None:
        service = await Service.start("shoe_qa", speaking.model_copy(update={"drain_s": 0.05}), Desk(), "shoe-qa#one")
        with held(service):
            stream: Stream = await service.runtime.stream(asked(900), None)
            closing = asyncio.create_task(service.close())
            await until(lambda: service._forward._closing)
            await asyncio.sleep(0.1)
        await closing
        with pytest.raises(ClosingError):
            [piece async for piece in stream]
        assert users(service) == {}

    asyncio.run(main())
