"""The guard behind a real server: what only a socket can do to it."""

from __future__ import annotations

import gzip
import json
import logging
import queue
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from serve.guard import Guard
from serve.keys import KeyRing, create_key
from serve.meters import Meters
from serve.problems import Receive, Scope, Send
from serve.rules import OPEN, Rule
from tests.serve.asgi import echo, listening, reply

Address = tuple[str, int]


@pytest.fixture
def gone() -> queue.Queue[str]:
    """What the streaming application saw last."""
    return queue.Queue()


@pytest.fixture
def served(tmp_path: Path, gone: queue.Queue[str]) -> Iterator[tuple[Address, str]]:
    """The address of a guarded application, and a key to it."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] != "/stream":
            return await echo(scope, receive, send)
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"first", "more_body": True})
        gone.put((await receive())["type"])
        return None

    path = tmp_path / "keys.json"
    _, key = create_key(path, "ci", ["infer"], 0.0)
    rules = [
        Rule("POST", "/predict", "infer"),
        Rule("POST", "/hasty", "infer", seconds=0.05),
        Rule("POST", "/stream", "infer"),
        Rule("GET", "/healthz", OPEN),
    ]
    with listening(Guard(app, rules, KeyRing(path), None, Meters("toy"))) as address:
        yield address, key


def head(path: str, key: str, *lines: str) -> bytes:
    """The head of a POST."""
    fixed = (f"POST {path} HTTP/1.1", "Host: localhost", f"Authorization: Bearer {key}")
    return "\r\n".join([*fixed, *lines, "", ""]).encode("latin-1")


JSON = "Content-Type: application/json"


def test_two_requests_on_one_connection(served: tuple[Address, str]) -> None:
    address, key = served
    with socket.create_connection(address) as line:
        for body in (b'{"a": 1}', b"{", b"[2]"):
            line.sendall(head("/predict", key, JSON, f"Content-Length: {len(body)}") + body)
            answer = reply(line)
            assert answer.status == (400 if body == b"{" else 200)
        line.sendall(head("/predict", "wrong", JSON, "Content-Length: 2") + b"{}")
        assert reply(line).status == 401
        line.sendall(head("/predict", key, JSON, "Transfer-Encoding: chunked") + b"1\r\n[\r\n1\r\n]\r\n0\r\n\r\n")
        assert json.loads(reply(line).body)["state"]["json"] == []


def test_a_slow_sender_is_given_up(served: tuple[Address, str]) -> None:
    address, key = served
    with socket.create_connection(address) as line:
        line.sendall(head("/hasty", key, JSON, "Content-Length: 100") + b'{"a"')
        answer = reply(line)
        assert (answer.status, answer.error["code"], answer.headers["connection"]) == (408, "request_timeout", "close")
        assert line.recv(1) == b"", "and the connection is closed"


def test_60_mb_are_not_taken_in(served: tuple[Address, str]) -> None:
    address, key = served
    piece = b"%x\r\n%s\r\n" % (1 << 16, b" " * (1 << 16))
    for lines, part in ((("Content-Length: 62914560",), b" " * (1 << 16)), (("Transfer-Encoding: chunked",), piece)):
        with socket.create_connection(address) as line:
            line.sendall(head("/predict", key, JSON, *lines))
            sent = 0
            try:
                for _ in range(960):
                    line.sendall(part)
                    sent += 1
            except OSError:
                pass  # the server closed while we were still sending, as it should
            answer = reply(line)
        assert (answer.status, answer.error["code"]) == (413, "body_too_large")
        assert sent < 960


def test_a_client_that_asks_first_is_told_at_once(served: tuple[Address, str]) -> None:
    address, key = served
    with socket.create_connection(address) as line:
        line.sendall(head("/predict", key, JSON, "Content-Length: 62914560", "Expect: 100-continue"))
        assert reply(line).status == 413


def test_a_gzip_bomb_is_not_opened(served: tuple[Address, str]) -> None:
    address, key = served
    bomb = gzip.compress(b"[" * 50_000_000)
    with socket.create_connection(address) as line:
        line.sendall(head("/predict", key, JSON, "Content-Encoding: gzip", f"Content-Length: {len(bomb)}") + bomb)
        answer = reply(line)
    assert (answer.status, answer.error["code"]) == (415, "unsupported_encoding")


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        ((JSON, JSON, "Content-Length: 2"), 400),
        ((JSON, "Content-Length: 2", "Content-Length: 3"), 400),
        ((JSON, "Content-Length: 2", "Transfer-Encoding: chunked"), 400),
        ((JSON, "Content-Length: 2", "Authorization: Bearer x"), 400),
        ((JSON, "Content-Length: 2", "X-API-Key: other"), 400),
        ((JSON, "Content-Length: 2", "Host: example.com"), 400),
        ((JSON, "Content-Length: 2"), 200),
    ],
)
def test_duplicate_headers(served: tuple[Address, str], lines: tuple[str, ...], status: int) -> None:
    address, key = served
    with socket.create_connection(address) as line:
        line.sendall(head("/predict", key, *lines) + b"{}")
        assert reply(line).status == status


def test_a_client_that_leaves_midway_is_seen_by_the_application(
    served: tuple[Address, str], gone: queue.Queue[str]
) -> None:
    address, key = served
    with socket.create_connection(address) as line:
        line.sendall(head("/stream", key, JSON, "Content-Length: 2") + b"{}")
        assert line.recv(15) == b"HTTP/1.1 200 OK"
    assert gone.get(timeout=30) == "http.disconnect"


def test_a_client_that_leaves_before_its_body_is_whole(
    served: tuple[Address, str], caplog: pytest.LogCaptureFixture
) -> None:
    address, key = served
    noted: queue.Queue[str] = queue.Queue()
    handler = logging.Handler()
    handler.emit = lambda record: noted.put(record.getMessage())  # type: ignore[method-assign]
    log = logging.getLogger("serve.access")
    log.addHandler(handler)
    with caplog.at_level(logging.INFO, "serve.access"):
        with socket.create_connection(address) as line:
            line.sendall(head("/predict", key, JSON, "Content-Length: 20") + b"{")
        assert json.loads(noted.get(timeout=30))["status"] == 499
        with socket.create_connection(address) as line:
            line.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert reply(line).status == 200
    log.removeHandler(handler)
