"""The load of `serve`: clients in a closed loop over keep-alive connections, written on bare asyncio transports since
the generator shares its cores with the server.

Each client sends its next request when its last one is answered. Texts and adapters are drawn evenly by a seeded
generator. Knows only the requests' form, which all sides share. `python -m tests.benchmarks.serve_load PORT` serves an
ASGI application that computes nothing, against which the generator's own ceiling is measured.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any

CLIENTS = 16
GIVE_UP_S = 120.0  # without a single answer


@dataclass(frozen=True)
class Answer:
    """One answer: what was asked, the status (0 where the connection was lost), seconds, the body, and when it came by
    `time.perf_counter`. `text` is the index among the load's texts."""

    adapter: str
    text: int
    status: int
    seconds: float
    body: bytes
    at: float


class Load:
    """Clients that ask a server at 127.0.0.1:`port`. `seen` hears of every answer as it comes."""

    def __init__(
        self,
        port: int,
        adapters: Sequence[str],
        texts: Sequence[str],
        *,
        clients: int = CLIENTS,
        seed: int = 0,
        seen: Callable[[Answer], None] | None = None,
    ) -> None:
        self.port = port
        self.clients = clients
        self.answers: list[Answer] = []
        self._adapters = list(adapters)
        self._heads = [f', "adapter": {json.dumps(name)}}}'.encode() for name in adapters]
        self._texts = [f'{{"text": {json.dumps(text)}'.encode() for text in texts]
        self._random = random.Random(seed)
        self._seen = seen
        self._go_on: Callable[[], bool] = lambda: False
        self._order: Iterator[int] = self._drawn()

    async def run(self, go_on: Callable[[], bool]) -> list[Answer]:
        """Ask while `go_on()`, which each client calls before a request; what was answered, in order. Raises OSError if
        there is no server or it goes away, TimeoutError if it stops answering."""
        self.answers = []
        self._go_on = go_on
        loop = asyncio.get_running_loop()
        ends = []
        for _ in range(self.clients):
            _, client = await loop.create_connection(lambda: _Client(self), "127.0.0.1", self.port)
            ends.append(client.end)
        count = -1
        while count != len(self.answers):
            count = len(self.answers)
            done, waiting = await asyncio.wait(ends, timeout=GIVE_UP_S)
            if not waiting:
                if errors := [error for end in done if (error := end.exception()) is not None]:
                    raise errors[0]
                return self.answers
        raise TimeoutError(f"no answer came for {GIVE_UP_S:.0f} s")

    async def run_for(self, seconds: float) -> list[Answer]:
        """Ask for some seconds."""
        until = time.perf_counter() + seconds
        return await self.run(lambda: time.perf_counter() < until)

    async def run_each(self) -> list[Answer]:
        """Ask every adapter once, in order."""
        self._order = iter(range(len(self._adapters)))
        try:
            return await self.run(lambda: True)
        finally:
            self._order = self._drawn()

    def next_request(self) -> tuple[str, int, bytes] | None:
        """Adapter, text and the request's bytes; None at the end."""
        if not self._go_on() or (adapter := next(self._order, -1)) < 0:
            return None
        text = self._random.randrange(len(self._texts))
        body = self._texts[text] + self._heads[adapter]
        head = (
            b"POST /sentiment/predict HTTP/1.1\r\nhost: 127.0.0.1:%d\r\ncontent-type: application/json\r\n"
            b"content-length: %d\r\n\r\n" % (self.port, len(body))
        )
        return self._adapters[adapter], text, head + body

    def _drawn(self) -> Iterator[int]:
        while True:
            yield self._random.randrange(len(self._adapters))

    def take(self, answer: Answer) -> None:
        """An answer has come."""
        self.answers.append(answer)
        if self._seen is not None:
            self._seen(answer)


class _Client(asyncio.Protocol):
    """One connection. A lost one counts as an answer with status 0 and is opened again."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self.end: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._data = b""
        self._asked: tuple[str, int] = ("", 0)
        self._began = 0.0
        self._transport: Any = None
        self._again: asyncio.Task[Any] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._data = b""
        self._ask()

    def data_received(self, data: bytes) -> None:
        self._data += data
        end = self._data.find(b"\r\n\r\n")
        if end < 0:
            return
        size = _length(self._data[:end])
        if len(self._data) < end + 4 + size:
            return
        self._note(int(self._data[9:12]), self._data[end + 4 : end + 4 + size])
        self._data = self._data[end + 4 + size :]
        self._ask()

    def connection_lost(self, error: Exception | None) -> None:
        if self.end.done():
            return
        self._note(0, str(error or "the connection was closed").encode())
        loop = asyncio.get_running_loop()
        self._again = loop.create_task(self._reconnect(loop))

    async def _reconnect(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            await loop.create_connection(lambda: self, "127.0.0.1", self.load.port)
        except OSError as error:
            self.end.set_exception(error)

    def _ask(self) -> None:
        made = self.load.next_request()
        if made is None:
            self.end.set_result(None)
            self._transport.close()
            return
        self._asked = made[:2]
        self._began = time.perf_counter()
        self._transport.write(made[2])

    def _note(self, status: int, body: bytes) -> None:
        now = time.perf_counter()
        self.load.take(Answer(*self._asked, status, now - self._began, body, now))


def _length(head: bytes) -> int:
    """The content-length of a header; every side's answers have one."""
    lowered = head.lower()
    at = lowered.index(b"\r\ncontent-length:") + 17
    return int(lowered[at:].partition(b"\r\n")[0])


async def empty(
    scope: MutableMapping[str, Any],
    receive: Callable[[], Awaitable[MutableMapping[str, Any]]],
    send: Callable[[MutableMapping[str, Any]], Awaitable[None]],
) -> None:
    """An ASGI application that reads the body and answers the same to all."""
    if scope["type"] != "http":
        return
    while (await receive()).get("more_body"):
        pass
    body = b'{"label": 1, "probability": 0.9983, "adapter": "none"}'
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


if __name__ == "__main__":
    import uvicorn

    uvicorn.run(empty, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", lifespan="off")
