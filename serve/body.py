"""The body of a request on its way in: no longer, slower, deeper or stranger than the route allows.

It is read as a whole before the application sees it, so no application waits for a slow sender. Compressed bodies are
refused unread. Knows nothing of routes and keys.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from pydantic_core import from_json

from serve.problems import Message, Receive, Refusal, quoted

DEPTH = 32

_DRAIN_BYTES = 1 << 16
_DRAIN_S = 1.0
_DIGITS = 15  # a longer Content-Length is no number of bytes that there are
_BRACKETS = bytes.maketrans(b"{}", b"[]")
_NO_BRACKET = bytes(set(range(256)) - set(b"{}[]"))


class ClientGone(Exception):
    """The client closed the connection before its request was whole."""


class Incoming:
    """The body of one request. `headers` are those of the request, none of them twice. Raises Refusal (400) for a
    length that is no number."""

    def __init__(self, headers: Mapping[bytes, bytes], receive: Receive) -> None:
        self._headers = headers
        self._receive = receive
        self._length = 0
        text = headers.get(b"content-length")
        if text is not None:
            if not text.isdigit() or len(text) > _DIGITS:
                raise Refusal(400, "Content-Length is not a number of bytes.", "bad_header", "content-length")
            self._length = int(text)
        self.is_over = self._length == 0 and b"transfer-encoding" not in headers
        """Whether nothing of it is left to read."""

    async def json(self, limit: int, seconds: float) -> tuple[bytes, Any]:
        """The body, and what it says as JSON. Raises Refusal: 400 (not JSON, too deep), 408, 413, 415; ClientGone."""
        _check_type(self._headers)
        if self._length > limit:
            raise _too_long(limit)
        if self.is_over:
            raise Refusal(400, "the body is empty: send JSON.", "invalid_json")
        try:
            async with asyncio.timeout(seconds):
                body = await self._read(limit)
        except TimeoutError as error:
            raise Refusal(408, f"the body did not arrive within {seconds:g} s.", "request_timeout") from error
        return body, parsed(body)

    async def drain(self) -> bool:
        """Read on and forget what comes: 64 KiB at most, for a second at most, and nothing that the client holds back
        until it is asked for (Expect). Whether the body is over; if not, the connection cannot be used again."""
        if not self.is_over and self._length <= _DRAIN_BYTES and b"expect" not in self._headers:
            try:
                async with asyncio.timeout(_DRAIN_S):
                    await self._read(_DRAIN_BYTES)
            except (TimeoutError, Refusal, ClientGone):
                pass
        return self.is_over

    async def _read(self, limit: int) -> bytes:
        chunks: list[bytes] = []
        size = 0
        while not self.is_over:
            message = await self._receive()
            if message["type"] != "http.request":
                raise ClientGone
            chunk = message.get("body", b"")
            self.is_over = not message.get("more_body", False)
            size += len(chunk)
            if size > limit:
                raise _too_long(limit)
            chunks.append(chunk)
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def replayed(body: bytes, receive: Receive) -> Receive:
    """A `receive` that hands over the body in one message, and then waits for the client to go."""
    waiting = True

    async def again() -> Message:
        nonlocal waiting
        if waiting:
            waiting = False
            return {"type": "http.request", "body": body, "more_body": False}
        return await receive()

    return again


def parsed(body: bytes) -> Any:
    """What a body says as JSON: strict, so no NaN, no control characters in strings, no half surrogates, only UTF-8.
    Raises Refusal (400)."""
    if too_deep(body, DEPTH):
        raise Refusal(400, f"the JSON is nested deeper than {DEPTH} levels.", "invalid_json")
    try:
        return from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise Refusal(400, f"the body is not valid JSON: {error}.", "invalid_json") from error


def too_deep(body: bytes, limit: int) -> bool:
    """Whether arrays and objects are nested deeper than `limit`, found without parsing.

    With strings cut out and braces made brackets, taking away every `[]` at once takes away exactly the innermost
    level of every branch. A few passes of bytes.replace do so; a loop over a megabyte of bytes would take a hundred
    times as long. Of a body whose brackets do not match the part before the mismatch counts, as a parser would see
    it."""
    if body.count(b"[") + body.count(b"{") <= limit:
        return False
    unescaped = body.replace(b"\\\\", b"").replace(b'\\"', b"") if b"\\" in body else body
    left = b"".join(unescaped.split(b'"')[::2]).translate(_BRACKETS, _NO_BRACKET)
    for _ in range(limit):
        if not left:
            return False
        left = left.replace(b"[]", b"")
    # Whatever still matches has more levels inside. What does not: a closing bracket, where a parser stops; or opening
    # ones only, each a level.
    return b"[]" in left or (left.startswith(b"[") and len(left) > limit)


def _check_type(headers: Mapping[bytes, bytes]) -> None:
    kind = headers.get(b"content-type", b"").decode("latin-1")
    if kind != "application/json":
        main, *parameters = (part.strip().lower() for part in kind.split(";"))
        charset = [each for each in parameters if each.startswith("charset=")]
        if main != "application/json" or any(each.strip('"') not in _UTF_8 for each in charset):
            shown = f", not {quoted(kind)}" if kind else ""
            raise Refusal(415, f"Content-Type must be application/json in UTF-8{shown}.", "unsupported_media_type")
    coding = headers.get(b"content-encoding", b"identity").decode("latin-1")
    if coding.strip().lower() != "identity":
        raise Refusal(415, f"send the body as it is, not in Content-Encoding {quoted(coding)}.", "unsupported_encoding")


_UTF_8 = ("charset=utf-8", 'charset="utf-8')


def _too_long(limit: int) -> Refusal:
    return Refusal(413, f"the body is longer than {limit:,} bytes, the most that this route takes.", "body_too_large")
