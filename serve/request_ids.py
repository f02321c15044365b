"""One request id on every answer, also behind Ray Serve, which adds one of its own and repeats whatever was sent.

Stands before all that Ray does with a request (Ray finds `middlewares` by its name in the environment, see `proxy.py`):
an id that is not plain, or came twice, is replaced by a fresh one, and of the ids that an answer has gathered one is
left. Knows nothing of what is answered.
"""

from __future__ import annotations

import re
import secrets

from starlette.middleware import Middleware

from serve.problems import App, Message, Receive, Scope, Send

HEADER = b"x-request-id"
PLAIN = re.compile(rb"[A-Za-z0-9._-]{1,64}")


def fresh_id() -> bytes:
    """A new one."""
    return secrets.token_hex(8).encode("ascii")


class OneRequestId:
    """An ASGI application around another."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on with one id, and its answer back with the same."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        sent = [value for name, value in scope["headers"] if name == HEADER]
        chosen = sent[0] if len(sent) == 1 and PLAIN.fullmatch(sent[0]) else fresh_id()
        others = [pair for pair in scope["headers"] if pair[0] != HEADER]

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                kept = [pair for pair in message.get("headers", ()) if pair[0].lower() != HEADER]
                message = {**message, "headers": [*kept, (HEADER, chosen)]}
            await send(message)

        await self._app({**scope, "headers": [*others, (HEADER, chosen)]}, receive, answer)


def middlewares() -> list[Middleware]:
    """What Ray Serve puts around every application."""
    return [Middleware(OneRequestId)]
