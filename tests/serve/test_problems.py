"""Every error is of one shape, and repeats little of what was sent."""

from __future__ import annotations

import asyncio
import json

from hypothesis import given
from hypothesis import strategies as st

from serve.problems import Message, error_body, quoted, send_error


@given(st.text(max_size=300))
def test_at_most_80_printable_characters_of_input_come_back(text: str) -> None:
    shown = quoted(text)
    assert len(shown) <= 80
    assert shown.isprintable()
    if len(text) < 10 and text.isalnum() and text.isprintable():
        assert shown == repr(text)


def test_the_shape_is_that_of_openai() -> None:
    assert error_body(404, "There is none.", "model_not_found", "model") == {
        "error": {
            "message": "There is none.",
            "type": "invalid_request_error",
            "param": "model",
            "code": "model_not_found",
        }
    }
    kinds = [error_body(status, "")["error"]["type"] for status in (400, 401, 403, 422, 429, 500, 503)]
    assert kinds == [
        "invalid_request_error",
        "authentication_error",
        "permission_error",
        "invalid_request_error",
        "rate_limit_error",
        "server_error",
        "server_error",
    ]
    assert len(error_body(422, "", param="x" * 1000)["error"]["param"]) == 80


def test_an_error_is_sent_whole() -> None:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    asyncio.run(send_error(send, 429, "Später.", "queue_full", headers=[(b"retry-after", b"2")]))
    start, body = sent
    headers = dict(start["headers"])
    assert (start["status"], headers[b"retry-after"]) == (429, b"2")
    assert int(headers[b"content-length"]) == len(body["body"])
    assert json.loads(body["body"]) == error_body(429, "Später.", "queue_full")
