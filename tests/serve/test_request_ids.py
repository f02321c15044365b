"""One id an answer, whatever was sent and whatever stands within."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from serve.request_ids import HEADER, PLAIN, OneRequestId, middlewares


async def _twice(scope: Any, receive: Any, send: Any) -> None:
    """An application behind which the id was added twice, as Ray Serve and a guard do."""
    (sent,) = [value for name, value in scope["headers"] if name == HEADER]
    headers = [(HEADER, sent), (b"X-Request-ID", b"another"), (b"content-type", b"text/plain")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


def answered(*ids: bytes) -> list[bytes]:
    """The ids of the answer to a request with these."""
    found: list[Any] = []

    async def send(message: Any) -> None:
        found.append(message)

    async def receive() -> Any:
        return {"type": "http.request"}

    scope = {"type": "http", "headers": [(b"host", b"localhost"), *((HEADER, each) for each in ids)]}
    asyncio.run(OneRequestId(_twice)(scope, receive, send))
    assert (b"content-type", b"text/plain") in found[0]["headers"]
    return [value for name, value in found[0]["headers"] if name.lower() == HEADER]


def test_a_plain_id_comes_back_once() -> None:
    assert answered(b"a-1.B_2") == [b"a-1.B_2"]


@pytest.mark.parametrize("ids", [(), (b"",), (b"a b;c",), (b"\xff",), (b"x" * 65,), (b"a", b"a")])
def test_any_other_is_replaced(ids: tuple[bytes, ...]) -> None:
    (found,) = answered(*ids)
    assert PLAIN.fullmatch(found)
    assert found not in ids


def test_ray_finds_it() -> None:
    assert [each.cls for each in middlewares()] == [OneRequestId]
