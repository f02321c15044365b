"""Bad requests over a real socket to the whole server: each is refused with its status, and nothing is left behind."""

from __future__ import annotations

import contextlib
import gzip
import json
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest

from tests.serve import whole
from tests.serve.asgi import Answer, reply
from tests.serve.toy import Adapters
from tests.serve.whole import CHAT, GOOD, IMAGES, PATIENCE_S, PREDICT, Whole

pytestmark = [
    pytest.mark.slow,
    # PEFT asks transformers for a name that it will drop
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning"),
]
SECRET = "zq9secret"  # in every body; no log may have it
ADAPTERS = "/admin/adapters"
CHANGED = f"{ADAPTERS}/sentiment/changed"
ALIAS = f"{CHANGED}/aliases/x"
VERSION = "@version"  # in a body, for one that there is
LIMITS = ("max_errors", "max_latency_ms", "max_latency_ratio", "requests")


@pytest.fixture(scope="module")
def server(adapters: Adapters, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Whole]:
    made = whole.make(adapters, tmp_path_factory.mktemp("serving"), tmp_path_factory.mktemp("bases"))
    with whole.serving(made, development=False) as found:
        yield found


@dataclass(frozen=True)
class Bad:
    """A request and what is answered. A body that is no bytes is sent as JSON, `lines` are sent beside those that every
    request has."""

    path: str
    status: int
    code: str | None
    body: Any = b""
    lines: tuple[str, ...] = ("Content-Type: application/json",)
    method: str = "POST"
    key: str | None = "all"

    def raw(self, server: Whole) -> bytes:
        """What goes over the socket."""
        body = self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()
        body = body.replace(VERSION.encode(), server.made.versions[0].encode())
        head = [f"{self.method} {self.path} HTTP/1.1", "Host: localhost", *self.lines]
        if self.key is not None:
            head.append(f"Authorization: Bearer {server.made.keys.get(self.key, self.key)}")
        if body and not any(line.startswith(("Content-Length", "Transfer-Encoding")) for line in self.lines):
            head.append(f"Content-Length: {len(body)}")
        return "\r\n".join([*head, "", ""]).encode("latin-1") + body


def chat(**change: Any) -> dict[str, Any]:
    return {**GOOD[CHAT], "user": SECRET, **change}


def said(content: Any) -> dict[str, Any]:
    return chat(messages=[{"role": "user", "content": content}])


def picture(**change: Any) -> dict[str, Any]:
    return {**GOOD[IMAGES], "user": SECRET, **change}


def number(body: dict[str, Any], name: str, literal: str) -> bytes:
    """A body with a number as no Python has it."""
    return json.dumps({**body, name: "@"}).replace('"@"', literal).encode()


def limits(name: str, literal: str) -> bytes:
    """A split whose one weight, or else one of whose limits, is a number as no Python has it."""
    if not name:
        return f'{{"split": {{"{VERSION}": {literal}}}}}'.encode()
    return f'{{"split": {{"{VERSION}": 1}}, "limits": {{"{name}": {literal}}}}}'.encode()


def get(path: str, status: int, code: str | None, key: str | None = "all", method: str = "GET") -> Bad:
    return Bad(path, status, code, lines=(), key=key, method=method)


JSON = "Content-Type: application/json"
POSTS = (PREDICT, CHAT, IMAGES, CHANGED)
DEEP = b'{"text": ' + b"[" * 10_000 + b"]" * 10_000 + b"}"
BOMB = gzip.compress(b'{"text": "' + b"a" * 10_000_000 + b'"}')
DOTS = ("../../etc/passwd", "..", "%2e%2e%2f%2e%2e%2fetc", "reviews@../../x", "/etc/passwd", "reviews/../changed")

TABLE: dict[str, Bad] = {
    **{f"broken JSON {at}": Bad(at, 400, "invalid_json", f'{{"a": "{SECRET}"'.encode()) for at in POSTS},
    **{f"deep JSON {at}": Bad(at, 400, "invalid_json", DEEP) for at in POSTS},
    **{f"an empty body {at}": Bad(at, 400, "invalid_json") for at in POSTS},
    **{f"a control character {at}": Bad(at, 400, "invalid_json", b'{"a": "\x01"}') for at in POSTS},
    **{f"half a character {at}": Bad(at, 400, "invalid_json", b'{"a": "\\ud800"}') for at in POSTS},
    **{f"no UTF-8 {at}": Bad(at, 400, "invalid_json", b'{"a": "\xff"}') for at in POSTS},
    **{f"NaN {at}": Bad(at, 400, "invalid_json", b'{"a": NaN}') for at in POSTS},
    **{f"no object {at}": Bad(at, 422, "invalid_request", b"[]") for at in POSTS},
    **{f"an unknown field {at}": Bad(at, 422, "invalid_request", {SECRET: SECRET}) for at in POSTS},
    **{
        f"text {at}": Bad(at, 415, "unsupported_media_type", SECRET.encode(), ("Content-Type: text/plain",))
        for at in POSTS
    },
    **{f"gzip {at}": Bad(at, 415, "unsupported_encoding", BOMB, (JSON, "Content-Encoding: gzip")) for at in POSTS},
    **{f"a header twice {at}": Bad(at, 400, "duplicate_header", {}, (JSON, JSON)) for at in POSTS},
    **{f"60 MB {at}": Bad(at, 413, "body_too_large", b"", (JSON, "Content-Length: 60000000")) for at in POSTS},
    **{f"a wrong key {at}": Bad(at, 401, "invalid_api_key", {}, key=f"lt_{SECRET}") for at in POSTS},
    **{f"no key {at}": Bad(at, 401, "missing_api_key", {}, key=None) for at in POSTS},
    **{f"a key to read alone {at}": Bad(at, 403, "missing_scope", {}, key="read") for at in POSTS},
    **{f"a method that is not taken {at}": get(at, 405, "method_not_allowed", method="PATCH") for at in POSTS},
    **{f"a method of other servers {at}": get(at, 405, "method_not_allowed", method="PROPFIND") for at in POSTS},
    **{f"adapter {name}": Bad(PREDICT, 404, "model_not_found", {"text": SECRET, "adapter": name}) for name in DOTS},
    **{f"chat of {name}": Bad(CHAT, 404, "model_not_found", chat(model=name)) for name in DOTS},
    **{f"picture of {name}": Bad(IMAGES, 404, "model_not_found", picture(model=name)) for name in DOTS},
    "a NUL in a text": Bad(PREDICT, 422, "invalid_text", {"text": f"{SECRET}\0"}),
    "a NUL in a chat": Bad(CHAT, 422, "invalid_text", said(f"{SECRET}\0")),
    "a NUL in a prompt": Bad(IMAGES, 422, "invalid_text", picture(prompt=f"{SECRET}\0")),
    "an escape in a prompt": Bad(IMAGES, 422, "invalid_text", picture(prompt=f"{SECRET}\x1b[2J")),
    "a NUL in a name": Bad(PREDICT, 404, "model_not_found", {"text": SECRET, "adapter": "a\0b"}),
    "an empty text": Bad(PREDICT, 422, "invalid_text", {"text": ""}),
    "an empty chat": Bad(CHAT, 422, "invalid_text", said("")),
    "an empty prompt": Bad(IMAGES, 422, "invalid_text", picture(prompt="")),
    "a long text": Bad(PREDICT, 422, "invalid_text", {"text": SECRET * 100_000}),
    "a long chat": Bad(CHAT, 422, "invalid_text", said(SECRET * 100_000)),
    "a long prompt": Bad(IMAGES, 422, "invalid_text", picture(prompt=SECRET * 100_000)),
    "a long name": Bad(PREDICT, 422, "invalid_request", {"text": SECRET, "adapter": SECRET * 100_000}),
    "negative max_tokens": Bad(CHAT, 422, "invalid_request", chat(max_tokens=-1)),
    "huge max_tokens": Bad(CHAT, 422, "invalid_request", chat(max_tokens=10**30)),
    "a huge seed of a chat": Bad(CHAT, 422, "invalid_request", chat(seed=2**64)),
    "a huge seed of a picture": Bad(IMAGES, 422, "invalid_request", picture(seed=2**64)),
    "a seed of 5000 digits": Bad(CHAT, 400, "invalid_json", number(chat(), "seed", "1" * 5000)),
    "a picture of 5000 digits": Bad(IMAGES, 400, "invalid_json", number(picture(), "seed", "1" * 5000)),
    "a temperature of 1e400": Bad(CHAT, 422, "invalid_request", number(chat(), "temperature", "1e400")),
    "a guidance of 1e400": Bad(IMAGES, 422, "invalid_request", number(picture(), "guidance", "-1e400")),
    "a weight of 1e400": Bad(ALIAS, 422, "invalid_request", limits("", "1e400")),
    **{f"{name} of 1e400": Bad(ALIAS, 422, "invalid_request", limits(name, "1e400")) for name in LIMITS},
    "a huge picture": Bad(IMAGES, 422, "invalid_value", picture(size="99999x99999")),
    "many pictures": Bad(IMAGES, 422, "invalid_request", picture(n=10**9)),
    "a study elsewhere": Bad(CHANGED, 422, "invalid_request", {"study": "../../etc"}),
    "a version elsewhere": Bad(ALIAS, 422, "invalid_request", {"split": {"../../etc": 1}}),
    "an alias elsewhere": Bad(f"{CHANGED}/aliases/..%2fx", 404, "not_found", {"split": {"000000000000": 1}}),
    "an adapter elsewhere": get(f"{ADAPTERS}/sentiment/%2e%2e", 404, "model_not_found"),
    "an adapter two up": get(f"{ADAPTERS}/sentiment/%2e%2e%2fx", 404, "not_found"),
    "a version two up": get(f"{CHANGED}/versions/%2e%2e%2f%2e%2e", 404, "not_found", method="DELETE"),
    "a model two up": get("/shoe-qa/v1/models/%2e%2e%2f%2e%2e%2fetc%2fpasswd", 404, "model_not_found"),
    "a model with a NUL": get("/fashion/v1/models/a%00b", 404, "model_not_found"),
    "a model of half a character": get("/fashion/v1/models/%ff%fe", 404, "model_not_found"),
    "a file": get("/%2e%2e%2f%2e%2e%2fetc/passwd", 404, "not_found"),
    "a file of a task": get("/sentiment/../../etc/passwd", 404, "not_found"),
    "the root of a task": get("/sentiment", 404, "not_found"),
    "a slash too many": get("//sentiment/healthz", 404, "not_found"),
    "a way around the key": get("/sentiment/healthz/../metrics", 401, "missing_api_key", key=None),
    "a line break in a path": get("/sentiment/a%0Ab", 404, "not_found"),
    "a line break in a model": get("/shoe-qa/v1/models/a%0Ab", 404, "not_found"),
    "a line break in an adapter": get(f"{ADAPTERS}/senti%0Ament/changed", 404, "model_not_found"),
    "a long path": get(f"/{SECRET * 1000}", 404, "not_found"),
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def slow_senders(server: Whole) -> Iterator[None]:
    """Clients whose requests never are whole, while all others are answered."""
    with contextlib.ExitStack() as stack:
        for at in POSTS:
            for raw in (
                Bad(at, 0, "", b"{", (JSON, "Content-Length: 99")).raw(server),
                f"POST {at} HTTP/1.1\r\nHo".encode(),
            ):
                line = stack.enter_context(socket.create_connection(server.address, PATIENCE_S))
                line.sendall(raw)
        yield


def sent(server: Whole, raw: bytes) -> Answer:
    with socket.create_connection(server.address, PATIENCE_S) as line:
        with contextlib.suppress(OSError):  # a server that refuses may close while we are still sending
            line.sendall(raw)
        return reply(line)


def still_answers(server: Whole) -> None:
    """Good requests are answered, nothing is left of others, and the log has nothing of them."""
    for path, body in GOOD.items():
        answer = sent(server, Bad(path, 200, None, body).raw(server))
        assert answer.status == 200, answer.body
    server.rests()
    server.quiet(SECRET)


def test_each_is_refused_with_its_status(server: Whole) -> None:
    wrong = []
    for name, bad in TABLE.items():
        answer = sent(server, bad.raw(server))
        error = server.error(answer.status, answer.body, answer.headers)
        if (answer.status, error["code"]) != (bad.status, bad.code):
            wrong.append(f"{name}: {answer.status} {error}, not {bad.status} {bad.code}")
        assert len(answer.body) < 2000, name
    assert wrong == []
    still_answers(server)


def test_60_mb_in_chunks_are_not_taken_in(server: Whole) -> None:
    piece = b"%x\r\n%s\r\n" % (1 << 16, b" " * (1 << 16))
    for path in POSTS:
        with socket.create_connection(server.address, PATIENCE_S) as line:
            line.sendall(Bad(path, 413, None, b"", (JSON, "Transfer-Encoding: chunked")).raw(server))
            taken = 0
            with contextlib.suppress(OSError):
                for _ in range(960):
                    line.sendall(piece)
                    taken += 1
            answer = reply(line)
        assert server.error(answer.status, answer.body, answer.headers)["code"] == "body_too_large"
        assert taken < 960
    still_answers(server)


def _answered(line: socket.socket) -> bytes:
    """What comes once all is sent, until the connection ends."""
    line.shutdown(socket.SHUT_WR)
    seen = b""
    with contextlib.suppress(ConnectionError):
        while part := line.recv(1 << 16):
            seen += part
    return seen


@pytest.mark.parametrize(
    "raw",
    [
        b"BREW /sentiment/predict HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /healthz HTTP/9.9\r\nHost: localhost\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 20,
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nBad Header: x\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: \x00\r\n\r\n",
        b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ],
    ids=["method", "version", "TLS", "header", "NUL", "long"],
)
def test_what_is_no_http_is_not_answered_as_if_it_were(server: Whole, raw: bytes) -> None:
    with socket.create_connection(server.address, PATIENCE_S) as line:
        with contextlib.suppress(OSError):
            line.sendall(raw)
        seen = _answered(line)
    assert b"200 OK" not in seen
    assert not seen or seen.split()[1][:1] == b"4", seen
    still_answers(server)


def test_chunks_that_are_none(server: Whole) -> None:
    for chunks in (b"zz\r\n{}\r\n", b"-1\r\n{}\r\n", b"2\r\n{}{}{}\r\n0\r\n\r\n", b"fffffffffffffffff\r\n{}"):
        raw = Bad(PREDICT, 400, None, chunks, (JSON, "Transfer-Encoding: chunked")).raw(server)
        with socket.create_connection(server.address, PATIENCE_S) as line:
            line.sendall(raw)
            seen = _answered(line)
        assert not seen or seen.split()[1] == b"400", seen
    still_answers(server)


def test_http_1_0_and_absurd_hosts(server: Whole) -> None:
    for head in (
        "HTTP/1.0",
        "HTTP/1.1\r\nHost: evil.example",
        f"HTTP/1.1\r\nHost: {'[:::' * 500}",
        "HTTP/1.1\r\nHost:",
    ):
        answer = sent(server, f"GET /healthz {head}\r\nConnection: close\r\n\r\n".encode())
        assert answer.status == 200, "with keys, the name by which it was found is nobody's concern"
        assert json.loads(answer.body) == {"status": "ok"}
    still_answers(server)


def test_pipelined_requests_are_answered_in_order(server: Whole) -> None:
    good = Bad(PREDICT, 200, None, GOOD[PREDICT])
    last = Bad("/nowhere", 404, None, lines=("Connection: close",), method="GET")
    requests = [good, TABLE["an empty text"], good, TABLE[f"broken JSON {PREDICT}"], get("/healthz", 200, None), last]
    with socket.create_connection(server.address, PATIENCE_S) as line:
        line.sendall(b"".join(each.raw(server) for each in requests))
        seen = b""
        while part := line.recv(1 << 16):
            seen += part
    statuses = [int(part[:3]) for part in seen.split(b"HTTP/1.1 ")[1:]]
    assert statuses == [each.status for each in requests]
    still_answers(server)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (CHAT, {**GOOD[CHAT], "max_tokens": 40, "temperature": 1.0, "seed": 3}),
        (IMAGES, {**GOOD[IMAGES], "steps": 100, "size": "64x64", "n": 4}),
    ],
    ids=["chat", "images"],
)
def test_clients_that_leave_a_stream(server: Whole, path: str, body: dict[str, Any]) -> None:
    raw = Bad(path, 200, None, {**body, "user": SECRET, "stream": True}).raw(server)
    for _ in range(5):
        with socket.create_connection(server.address, PATIENCE_S) as line:
            line.sendall(raw)
            seen = b""
            while b"data: " not in seen:
                seen += line.recv(4096)
        with socket.create_connection(server.address, PATIENCE_S) as line:
            line.sendall(raw)  # and leaves before the first event
    still_answers(server)


def test_development_answers_to_this_machine_by_its_own_name_alone(server: Whole) -> None:
    with whole.serving(server.made, development=True) as found:
        for path, body in GOOD.items():
            for headers in ({"host": "evil.example"}, {"origin": "http://evil.example"}):
                answer = httpx2.post(found.url + path, json=body, headers=headers, timeout=PATIENCE_S)
                assert answer.status_code == 403
                found.error(403, answer.content, answer.headers)
            assert httpx2.post(found.url + path, json=body, timeout=PATIENCE_S).status_code == 200
        found.rests()
        found.quiet()
