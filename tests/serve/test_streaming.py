"""Events that are sent as they come, and work that ends with whoever asked for it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, MutableMapping
from typing import Any

import pytest

from serve import streaming
from serve.streaming import DONE, EventStream, LeftError, event, while_there

Message = MutableMapping[str, Any]
HTTP: dict[str, Any] = {"type": "http", "method": "POST", "path": "/", "headers": []}


class Line:
    """A connection: what was sent over it, and a client that leaves when told."""

    def __init__(self) -> None:
        self.sent: list[Message] = []
        self.gone = asyncio.Event()
        self.closed = 0

    async def receive(self) -> Message:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        self.sent.append(message)

    async def close(self) -> None:
        self.closed += 1

    @property
    def text(self) -> str:
        return b"".join(message.get("body", b"") for message in self.sent).decode()


def test_an_event_is_one_line_of_json() -> None:
    text = event({"said": "鞋\nx"}, "error")
    name, data, *rest = text.split("\n")
    assert (name, rest) == ("event: error", ["", ""])
    assert json.loads(data.removeprefix("data: ")) == {"said": "鞋\nx"}


def test_events_are_sent_one_by_one_and_the_end_is_told() -> None:
    async def run() -> None:
        line = Line()

        async def events() -> AsyncGenerator[str, None]:
            yield event({"at": 1})
            assert line.text == 'data: {"at":1}\n\n'[: len(line.text)]
            yield DONE

        await EventStream(events(), line.close)(HTTP, line.receive, line.send)
        start, *bodies = line.sent
        headers = dict(start["headers"])
        assert headers[b"content-type"].startswith(b"text/event-stream")
        assert headers[b"cache-control"] == b"no-cache"
        assert b"content-length" not in headers
        assert [body["more_body"] for body in bodies] == [True, True, False]
        assert line.text == f'data: {{"at":1}}\n\n{DONE}'
        assert line.closed == 1

    asyncio.run(run())


@pytest.mark.parametrize("after", [0, 1])
def test_a_client_that_leaves_ends_the_events_wherever_they_stand(after: int) -> None:
    async def run() -> None:
        line, ended = Line(), asyncio.Event()

        async def events() -> AsyncGenerator[str, None]:
            try:
                for at in range(after):
                    yield event({"at": at})
                line.gone.set()
                await asyncio.Event().wait()
            finally:
                ended.set()

        await EventStream(events(), line.close)(HTTP, line.receive, line.send)
        assert ended.is_set()
        assert line.closed == 1
        assert line.text.count("data: ") == after
        assert all(message.get("more_body", True) for message in line.sent)

    asyncio.run(run())


def test_a_connection_that_breaks_at_the_first_byte_closes_what_was_begun() -> None:
    async def run() -> None:
        line = Line()

        async def broken(_: Message) -> None:
            raise OSError("gone")

        async def events() -> AsyncGenerator[str, None]:
            yield DONE

        with pytest.raises(OSError, match="gone"):
            await EventStream(events(), line.close)(HTTP, line.receive, broken)
        assert line.closed == 1

    asyncio.run(run())


def test_silence_is_broken_by_a_comment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "KEEP_ALIVE_S", 0.001)

    async def run() -> None:
        line = Line()

        async def events() -> AsyncGenerator[str, None]:
            while ":" not in line.text:
                await asyncio.sleep(0)
            yield DONE

        await EventStream(events(), line.close)(HTTP, line.receive, line.send)
        assert line.text.startswith(": still at work\n\n")
        assert line.text.endswith(DONE)

    asyncio.run(run())


def test_work_brings_its_result_or_its_error_while_somebody_is_there() -> None:
    async def run() -> None:
        line = Line()

        async def work(broken: bool) -> int:
            if broken:
                raise ValueError("no")
            return 5

        assert await while_there(line.receive, work(False)) == 5
        with pytest.raises(ValueError, match="no"):
            await while_there(line.receive, work(True))

    asyncio.run(run())


def test_work_is_given_up_when_nobody_is_there() -> None:
    async def run() -> None:
        line, given_up = Line(), asyncio.Event()

        async def work() -> None:
            line.gone.set()
            try:
                await asyncio.Event().wait()
            finally:
                given_up.set()

        with pytest.raises(LeftError) as left:
            await while_there(line.receive, work())
        assert left.value.status == 499
        assert given_up.is_set()

    asyncio.run(run())
