"""Versions brought into memory: once for all who wait, and not again where they failed."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

import pytest

from serve import loader
from serve.errors import AdapterFailedError, ClosingError
from serve.loader import Loader
from tests.engine.toy import task_device
from tests.serve.toy import Adapters, called, promote, until
from tuner.registry import Registry, Version
from tuner.tasks.sentiment.serving import Sentiment, ServedSentiment


class Loading:
    """A loader of one registry on a real base whose canary is answered by hand."""

    def __init__(self, registry: Registry, base: Path) -> None:
        self.base = ServedSentiment.serve(str(base), None, task_device(), 10**6)
        self.answer: Any = Sentiment(1, "positive", 0.9)
        self.open = asyncio.Event()
        self.open.set()
        self.asked = 0
        self.leaving: asyncio.Task[Any] | None = None
        self.loader = Loader("sentiment", self.base, registry, self._canary)
        self.loader.state = registry.state()

    async def _canary(self, _: Any) -> Any:
        self.asked += 1
        await self.open.wait()
        if self.leaving is not None:  # runs when the loading has ended, before whoever waits for it hears of that
            asyncio.get_running_loop().call_soon(self.leaving.cancel)
        return self.answer

    def users(self) -> list[int]:
        """Of every resident."""
        return [each.users for each in self.base.table._residents.values()]


@pytest.fixture
def version(registry: Registry, adapters: Adapters) -> Version:
    return promote(registry, adapters.folders[0])


def test_all_who_wait_share_one_loading(
    registry: Registry, adapters: Adapters, version: Version, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        found = Loading(registry, adapters.base)
        found.open.clear()
        waiting = [asyncio.create_task(found.loader.take(called(version))) for _ in range(5)]
        await until(lambda: found.asked)
        late = asyncio.create_task(found.loader.take(called(version)))  # nobody gets it before its canary has answered
        await asyncio.sleep(0)
        assert not late.done()
        waiting.pop().cancel()
        found.open.set()
        residents = await asyncio.gather(*waiting, late)
        assert found.asked == 1
        assert len(set(map(id, residents))) == 1
        assert found.users() == [5]
        for each in residents:
            found.loader.release(each)
        found.base.table.drop(called(version))
        again = await found.loader.take(called(version))
        assert found.asked == 1  # it was sound, and cannot have changed
        found.loader.release(again)
        assert found.users() == [0]
        await found.loader.close()

    asyncio.run(main())


def test_one_who_leaves_in_the_last_moment(registry: Registry, adapters: Adapters, version: Version) -> None:
    async def main() -> None:
        found = Loading(registry, adapters.base)
        found.open.clear()
        taking = found.leaving = asyncio.create_task(found.loader.take(called(version)))
        await until(lambda: found.asked)
        (waiter,) = found.loader._waiting[called(version)]
        found.open.set()
        with pytest.raises(asyncio.CancelledError):
            await taking
        assert waiter.result()  # it had come, and was wanted no more
        await until(lambda: found.users() == [0])
        await found.loader.close()

    asyncio.run(main())


@pytest.mark.parametrize("answer", [RuntimeError("no"), Sentiment(1, "positive", float("nan"))])
def test_a_canary_that_fails_leaves_no_resident(
    registry: Registry, adapters: Adapters, version: Version, answer: Any
) -> None:
    async def main() -> None:
        found = Loading(registry, adapters.base)
        found.answer = answer
        waiting = [found.loader.take(called(version)) for _ in range(3)]
        for error in await asyncio.gather(*waiting, return_exceptions=True):
            assert isinstance(error, AdapterFailedError)
            assert "its canary failed" in str(error.__cause__)
        assert len(found.base.table) == 0
        await found.loader.close()

    asyncio.run(main())


def test_what_failed_is_not_tried_again_at_once(
    registry: Registry,
    adapters: Adapters,
    version: Version,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(loader, "AGAIN_S", 0.05)
    caplog.set_level(logging.ERROR)

    async def main() -> None:
        found = Loading(registry, adapters.base)
        found.answer = RuntimeError("no")
        for _ in range(20):
            with pytest.raises(AdapterFailedError, match="the server's log says why"):
                await found.loader.take(called(version))
            if not found.loader.failed(called(version)):
                break
        else:
            assert found.asked == 1
        found.answer = Sentiment(1, "positive", 0.9)
        await until(lambda: not found.loader.failed(called(version)))
        found.loader.release(await found.loader.take(called(version)))
        assert not found.loader.failed(called(version))
        await found.loader.close()

    asyncio.run(main())


def test_closing_ends_who_waits(registry: Registry, adapters: Adapters, version: Version) -> None:
    async def main() -> None:
        found = Loading(registry, adapters.base)
        found.open.clear()
        taking = asyncio.create_task(found.loader.take(called(version)))
        await until(lambda: found.asked)
        await found.loader.close()
        with pytest.raises(ClosingError):
            await taking
        assert len(found.base.table) == 0

    asyncio.run(main())


def test_a_version_that_nobody_knows(registry: Registry, adapters: Adapters, version: Version) -> None:
    async def main() -> None:
        found = Loading(registry, adapters.base)
        for name in ("reviews@0123456789ab", "nobody@0123456789ab", f"../x@{version.version}"):
            with pytest.raises(AdapterFailedError):
                await found.loader.take(name)
        await found.loader.close()

    asyncio.run(main())
