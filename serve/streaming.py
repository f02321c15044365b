"""Answers that take a while: sent piece by piece as server-sent events, and given up when whoever asked has left.

Knows nothing of what is answered.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Mapping
from typing import Any, TypeVar

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from serve.errors import ServeError

KEEP_ALIVE_S = 10.0  # of silence, after which a comment says that somebody is still at work
DONE = "data: [DONE]\n\n"
_AT_WORK = ": still at work\n\n"
T = TypeVar("T")


class LeftError(ServeError):
    """Whoever asked has closed the connection; the answer reaches nobody."""

    status = 499
    code = "client_closed_request"

    def __init__(self) -> None:
        super().__init__("The client closed the connection before there was an answer.")


def event(data: Mapping[str, Any], name: str = "") -> str:
    """One event as it is sent."""
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {json.dumps(data, ensure_ascii=False, separators=(',', ':'))}\n\n"


class EventStream(StreamingResponse):
    """Events as they come. `close` is awaited however it ends, also where the client left before the first event."""

    media_type = "text/event-stream"

    def __init__(self, events: AsyncGenerator[str, None], close: Callable[[], Awaitable[None]]) -> None:
        # a proxy must neither keep events back nor for later
        super().__init__(events, headers={"cache-control": "no-cache", "x-accel-buffering": "no"})
        self._events = events
        self._close = close

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send events until there are no more, or nobody is there to read them."""
        gone: asyncio.Future[Any] = asyncio.ensure_future(_left(receive))
        coming: asyncio.Future[Any] = asyncio.ensure_future(anext(self._events, None))
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            while True:
                await asyncio.wait({gone, coming}, timeout=KEEP_ALIVE_S, return_when=asyncio.FIRST_COMPLETED)
                if gone.done():
                    return
                text = _AT_WORK
                if coming.done():
                    text = coming.result()
                    if text is None:
                        break
                    coming = asyncio.ensure_future(anext(self._events, None))
                await send({"type": "http.response.body", "body": text.encode(), "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            await _stopped(gone, coming)
            await self._events.aclose()
            await self._close()


async def while_there(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """What the work brings, which is given up where the client leaves. Raises LeftError then."""
    gone, task = asyncio.ensure_future(_left(receive)), asyncio.ensure_future(work)
    try:
        await asyncio.wait({gone, task}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise LeftError()
        return task.result()
    finally:
        await _stopped(gone, task)


async def _left(receive: Receive) -> None:
    """Until the client has closed the connection."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def _stopped(*tasks: asyncio.Future[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
