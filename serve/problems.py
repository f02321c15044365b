"""The one shape of every error answer: OpenAI's, so that its clients read it.

    {"error": {"message": "a sentence", "type": "invalid_request_error", "param": "texts" or null, "code": "..."}}

Knows nothing of what went wrong: whoever refuses says the sentence. An answer repeats at most 80 characters of a
request, through `quoted`.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers = Iterable[tuple[bytes, bytes]]

_SHOWN = 80
_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}


class Refusal(Exception):
    """A request that is answered with an error: what `error_body` and `send_error` need, raised from any depth."""

    def __init__(
        self, status: int, message: str, code: str | None = None, param: str | None = None, headers: Headers = ()
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.param = param
        self.headers = tuple(headers)


def quoted(text: str) -> str:
    """A part of a request as a message may repeat it: quoted, control characters escaped, 80 characters at most."""
    shown = repr(text[:_SHOWN])
    return shown if len(text) <= _SHOWN and len(shown) <= _SHOWN else shown[: _SHOWN - 4] + "..." + shown[0]


def error_body(status: int, message: str, code: str | None = None, param: str | None = None) -> dict[str, Any]:
    """The body of an error answer. `code` is a word for programs, `param` the field that is wrong, cut at 80 characters
    since a request may name it."""
    kind = _TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    return {
        "error": {
            "message": message,
            "type": kind,
            "param": param if param is None else param[:_SHOWN],
            "code": code,
        }
    }


async def send_error(
    send: Send,
    status: int,
    message: str,
    code: str | None = None,
    param: str | None = None,
    headers: Headers = (),
) -> None:
    """Answer a request with an error, whole."""
    body = json.dumps(error_body(status, message, code, param)).encode("ascii")
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [
                (b"content-type", b"application/json"),
                (b"content-length", str(len(body)).encode("ascii")),
                *headers,
            ],
        }
    )
    await send({"type": "http.response.body", "body": body})
