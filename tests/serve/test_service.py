"""A service: made whole or not at all, honest about itself, every route of it guarded."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from serve.desk import Desk
from serve.forward import _TRIES
from serve.service import Service, prefix
from serve.settings import ServeSettings
from tests.serve import toy, walk
from tests.serve.asgi import Answer, asked, http_scope
from tests.serve.toy import Adapters, ask, called, held, promote, serving, until
from tuner.errors import BaseModelError, ConfigError, DeviceError, StoreError
from tuner.registry import Registry

THREADS = ("forward", "adapter-files")


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    yield
    assert [each.name for each in threading.enumerate() if each.name.startswith(THREADS)] == []


async def get(service: Service, path: str) -> Answer:
    scope = http_scope("GET", path, [("host", "127.0.0.1")], query_string=b"", scheme="http", server=("127.0.0.1", 80))
    return await asked(service.app, scope, {"type": "http.request", "body": b"", "more_body": False})


def test_every_route_is_guarded_and_described(registry: Registry, adapters: Adapters) -> None:
    async def main() -> None:
        async with serving(registry, adapters.base) as service:
            walk.check(service.app)
            page = await get(service, "/openapi.json")
            assert page.status == 200
            assert b'"/predict"' in page.body

    asyncio.run(main())


def test_ready_only_while_it_can_answer(registry: Registry, adapters: Adapters) -> None:
    registry.path.mkdir()
    state = registry.path / "state.json"
    state.write_text("{")

    async def main() -> None:
        async with serving(registry, adapters.base) as service:
            answer = await get(service, "/readyz")
            assert answer.status == 503
            assert str(registry.path).encode() not in answer.body  # everybody may read it
            state.unlink()
            await toy.served_by(service, [promote(registry, adapters.folders[0])])
            assert (await get(service, "/readyz")).status == 200
            for _ in range(_TRIES):
                with held(service, RuntimeError("out of something")):
                    waiting = asyncio.create_task(ask(service))
                    await until(lambda: service.runtime.under_way)
                await asyncio.gather(waiting, return_exceptions=True)
            answer = await get(service, "/readyz")
            assert answer.status == 503
            assert b"the model does not work" in answer.body
            assert b"out of something" not in answer.body
            assert (await get(service, "/healthz")).status == 200
            await ask(service)
            assert (await get(service, "/readyz")).status == 200

    asyncio.run(main())


def _without_base(settings: ServeSettings) -> ServeSettings:
    own = settings.tasks["sentiment"].model_copy(update={"base_model": "/nowhere"})
    return settings.model_copy(update={"tasks": {"sentiment": own}})


def _without_device(settings: ServeSettings) -> ServeSettings:
    own = settings.tasks["sentiment"].model_copy(update={"device": "cuda:77"})
    return settings.model_copy(update={"tasks": {"sentiment": own}})


def _open_to_all(settings: ServeSettings) -> ServeSettings:
    return settings.model_copy(update={"host": "0.0.0.0"})


def _with_broken_keys(settings: ServeSettings) -> ServeSettings:
    settings.keys.write_text("{")
    return settings.model_copy(update={"development": False})


@pytest.mark.parametrize(
    ("spoiled", "error"),
    [
        (_without_base, BaseModelError),
        (_without_device, DeviceError),
        (_open_to_all, ConfigError),
        (_with_broken_keys, StoreError),
    ],
)
def test_a_start_that_fails_leaves_nothing(
    registry: Registry, adapters: Adapters, spoiled: Any, error: type[Exception]
) -> None:
    promote(registry, adapters.folders[0])
    settings = spoiled(toy.settings(registry, adapters.base))

    async def main() -> None:
        before = asyncio.all_tasks()
        with pytest.raises(error):
            await Service.start("sentiment", settings, Desk(), "sentiment#one")
        assert asyncio.all_tasks() == before

    asyncio.run(main())


def test_closing_leaves_nothing(registry: Registry, adapters: Adapters) -> None:
    promote(registry, adapters.folders[0])

    async def main() -> None:
        before = asyncio.all_tasks()
        async with serving(registry, adapters.base) as service:
            promote(registry, adapters.folders[1])  # its loading is cut short
            await service.runtime.hub.look()
        assert asyncio.all_tasks() == before

    asyncio.run(main())


def test_the_base_is_that_of_the_newest_adapter(registry: Registry, adapters: Adapters) -> None:
    version = promote(registry, adapters.folders[0])

    async def main() -> None:
        async with serving(registry, adapters.base, base_model=None) as service:
            assert service.runtime.facts.name == str(adapters.base)
            assert (await ask(service))[0] == called(version)

    asyncio.run(main())


def test_metrics_reach_the_desk(registry: Registry, adapters: Adapters) -> None:
    version = promote(registry, adapters.folders[0])

    async def main() -> None:
        desk = Desk()
        service = await Service.start("sentiment", toy.settings(registry, adapters.base), desk, "sentiment#one")
        await ask(service)
        wanted = f'serve_adapter_rows_total{{adapter="{called(version)}",app="sentiment"}} 1.0'.encode()

        async def told() -> None:
            while wanted not in (await desk.reports()).get("sentiment#one", b""):
                await asyncio.sleep(0.02)

        await told()
        text = (await get(service, "/metrics")).body
        assert b'serve_adapters_resident{replica="sentiment#one",app="sentiment"} 1.0' in text
        assert b'serve_swaps_total{replica="sentiment#one",app="sentiment",result="ok"} 1.0' in text
        await service.close()

    asyncio.run(main())


def test_prefixes() -> None:
    assert prefix("shoe_qa") == "shoe-qa"
