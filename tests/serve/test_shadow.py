"""A shadow answers too, is compared, and costs nobody anything."""

from __future__ import annotations

import asyncio
import json
import logging
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from serve.shadow import difference
from tests.serve import toy
from tests.serve.toy import Adapters, ask, called, held, promote, serving, until, users
from tuner.registry import Registry, Version


def shadowed(registry: Registry, adapters: Adapters) -> tuple[Version, Version]:
    """A champion and its shadow."""
    first, second = (promote(registry, folder) for folder in adapters.folders[:2])
    registry.set_alias(first.name, "champion", {first.version: 1.0}, shadow=second.version, by=toy.BY)
    return first, second


def counted(service: Any, result: str) -> int:
    text = service._meters.exposition().decode()
    start = f'serve_shadow_comparisons_total{{app="sentiment",result="{result}"}} '
    return next((int(float(line.removeprefix(start))) for line in text.splitlines() if line.startswith(start)), 0)


def test_it_compares_and_logs_without_the_text(
    registry: Registry, adapters: Adapters, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = shadowed(registry, adapters)
    caplog.set_level(logging.INFO, "serve.shadow")

    async def main() -> None:
        async with serving(registry, adapters.base) as service:
            for text in toy.TEXTS:
                assert (await ask(service, None, text))[0] == called(first)
            await until(lambda: counted(service, "same") + counted(service, "different") == len(toy.TEXTS))
            lines = [json.loads(record.getMessage()) for record in caplog.records if record.name == "serve.shadow"]
            assert len(lines) == len(toy.TEXTS)
            labels = [{text: p > 0.5 for text, p in each.items()} for each in adapters.reference[:2]]
            same = sum(labels[0][text] == labels[1][text] for text in toy.TEXTS)
            assert 0 < same < len(toy.TEXTS)
            assert counted(service, "same") == same == sum(line["same"] for line in lines)
            assert {line["shadow"] for line in lines} == {called(second)}
            assert not any(text in caplog.text for text in toy.TEXTS)

    asyncio.run(main())


def test_every_text_of_a_request_is_compared(registry: Registry, adapters: Adapters) -> None:
    shadowed(registry, adapters)

    async def main() -> None:
        async with serving(registry, adapters.base) as service:
            await service.runtime.answers(toy.TEXTS[:5], "reviews")
            await until(lambda: counted(service, "same") + counted(service, "different") == 5)
            await service.runtime.answer(toy.TEXTS[0], called(shadowed(registry, adapters)[0]))
            await until(lambda: not users(service))
            assert counted(service, "same") + counted(service, "different") == 5  # a version asked by name has none

    asyncio.run(main())


def test_a_busy_server_skips_it(registry: Registry, adapters: Adapters) -> None:
    shadowed(registry, adapters)

    async def main() -> None:
        async with serving(registry, adapters.base, queue=1) as service:
            await ask(service)  # the line is half free, and no more, only when nobody is in it
            await until(lambda: counted(service, "same") + counted(service, "different") == 1)
        async with serving(registry, adapters.base, queue=4) as service:
            with held(service):
                waiting = [asyncio.create_task(ask(service)) for _ in range(4)]
                await until(lambda: service.runtime.under_way == 4)
                hub = service.runtime.hub
                chosen = await hub.take("reviews")
                service.runtime.went_well(chosen, [toy.TEXTS[0]], ["x"], 0.1)
                hub.release(chosen)
                assert counted(service, "skipped") == 1
            await asyncio.gather(*waiting)

    asyncio.run(main())


def test_a_shadow_that_fails_changes_no_answer(registry: Registry, adapters: Adapters) -> None:
    first, second = shadowed(registry, adapters)

    async def main() -> None:
        async with serving(registry, adapters.base) as service:
            toy.room_for(service, 2)
            (toy.writable(registry.folder(second)) / "tuner.json").unlink()
            name, probability = await ask(service)
            assert name == called(first)
            assert probability == pytest.approx(adapters.reference[0][toy.TEXTS[0]], abs=1e-5)
            await until(lambda: counted(service, "failed") == 1)

    asyncio.run(main())


def test_an_answer_does_not_wait_for_its_shadow(registry: Registry, adapters: Adapters) -> None:
    first, _ = shadowed(registry, adapters)

    async def main() -> None:
        async with serving(registry, adapters.base) as service:
            hub = service.runtime.hub
            chosen = await hub.take("reviews")
            with held(service):
                service.runtime.went_well(chosen, [toy.TEXTS[0]], ["x"], 0.1)
                hub.release(chosen)
                assert chosen.name == called(first)
                await until(lambda: service.runtime.under_way == 1)  # the shadow's alone
            await until(lambda: not service.runtime.under_way)

    asyncio.run(main())


@dataclass
class Said:
    text: str
    sure: float | None = None
    pixels: Any = None


def test_differences() -> None:
    assert difference(Said("a", 0.5), Said("a", 0.75)) == {"same": True, "most": 0.25}
    assert difference(Said("a", 0.5), Said("b", 0.5)) == {"same": False, "most": 0.0}
    assert difference(Said("a", 0.5), Said("a", None)) == {"same": True}
    assert difference("a", "a") == {"same": True}
    grey = np.zeros((2, 2, 3))
    assert difference(grey, grey.copy()) == {"same": True}
    assert difference(grey, grey + 1) == {"same": False}
    assert difference(grey, np.zeros((2, 3, 3))) == {"same": False}
    assert difference(Said("a", pixels=grey), Said("a", pixels=grey + 1)) == {"same": False}
