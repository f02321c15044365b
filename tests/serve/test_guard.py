"""The guard, asked directly: who may pass, what everybody is told, and what the log knows."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from serve.desk import Desk
from serve.guard import Development, Guard
from serve.keys import KeyRing, create_key, revoke_key
from serve.meters import Meters
from serve.problems import Message, Receive, Refusal, Scope, Send
from serve.rates import Limiter
from serve.rules import OPEN, Rule
from tests.serve.asgi import Pairs, ask, asked, echo, http_scope

RULES = [
    Rule("GET", "/healthz", OPEN),
    Rule("GET", "/v1/models", "read"),
    Rule("POST", "/predict", "infer"),
    Rule("POST", "/small", "infer", limit=10),
    Rule("POST", "/admin/{name}/roll_back", "deploy", limit=0),
    Rule("DELETE", "/admin/{name}", "admin"),
]
LOCAL = ("host", "localhost:8000")


class Clock:
    """A time that the test sets."""

    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        return self.now


@dataclass
class House:
    """A guarded application, keys to it, and its clock."""

    guard: Guard
    path: Path
    keys: dict[str, str]
    clock: Clock
    meters: Meters


def bearer(key: str) -> tuple[str, str]:
    return ("Authorization", f"Bearer {key}")


@pytest.fixture
def house(tmp_path: Path) -> House:
    path = tmp_path / "keys.json"
    keys = {
        scope: create_key(path, f"the-{scope}", [scope], time.time())[1]
        for scope in ("read", "infer", "deploy", "admin")
    }
    keys["slow"] = create_key(path, "slow", ["read"], time.time(), rate=2)[1]
    keys["brief"] = create_key(path, "brief", ["read"], time.time(), days=1)[1]
    clock = Clock()
    meters = Meters("toy")
    limiter = Limiter(Desk(clock), "r1", None, meters.desk_failed, clock)
    return House(Guard(echo, RULES, KeyRing(path, clock, clock), limiter, meters), path, keys, clock, meters)


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Iterator[list[str]]:
    """The lines of the access log, filled as they come."""
    found: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: found.append(record.getMessage())  # type: ignore[method-assign]
    log = logging.getLogger("serve.access")
    log.addHandler(handler)
    with caplog.at_level(logging.INFO, "serve.access"):
        yield found
    log.removeHandler(handler)


ROUTES = [
    ("GET", "/v1/models", "read"),
    ("POST", "/predict", "infer"),
    ("POST", "/admin/a/roll_back", "deploy"),
    ("DELETE", "/admin/a", "admin"),
]


@pytest.mark.parametrize(("method", "path", "scope"), ROUTES)
def test_each_scope_opens_its_own_routes_and_admin_all(house: House, method: str, path: str, scope: str) -> None:
    body = b"{}" if path == "/predict" else None
    for name in ("read", "infer", "deploy", "admin"):
        answer = ask(house.guard, method, path, [bearer(house.keys[name])], body)
        if name in (scope, "admin"):
            assert answer.status == 200
        else:
            assert answer.status == 403
            assert answer.error["message"] == f"the key the-{name} lacks the scope {scope}."
            assert f'error="insufficient_scope", scope="{scope}"' in answer.headers["www-authenticate"]


@pytest.mark.parametrize("path", [*(path for _, path, _ in ROUTES), "/nowhere", "/", "*", ""])
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "HEAD", "OPTIONS", "TRACE", "BREW"])
def test_without_a_key_nothing_is_told(house: House, method: str, path: str) -> None:
    answer = ask(house.guard, method, path)
    assert (answer.status, answer.error["code"]) == (401, "missing_api_key")
    assert answer.headers["www-authenticate"] == 'Bearer realm="tuner"'
    assert "allow" not in answer.headers


def test_an_open_route_asks_for_nothing(house: House) -> None:
    assert ask(house.guard, "GET", "/healthz").status == 200
    assert ask(house.guard, "GET", "/healthz", [bearer("wrong")]).status == 200
    answer = ask(house.guard, "POST", "/healthz")
    assert (answer.status, answer.headers["allow"]) == (405, "GET")


def test_with_a_key_unknown_paths_and_methods_are_told(house: House) -> None:
    key = [bearer(house.keys["read"])]
    answer = ask(house.guard, "GET", "/secret/../path", key)
    assert (answer.status, answer.error["code"]) == (404, "not_found")
    assert "secret" not in answer.error["message"]
    for method in ("HEAD", "OPTIONS", "TRACE", "PUT", "BREW"):
        answer = ask(house.guard, method, "/v1/models", key)
        assert (answer.status, answer.headers["allow"]) == (405, "GET")


def test_the_ways_to_send_a_key(house: House) -> None:
    key, other = house.keys["read"], house.keys["admin"]
    ways: list[tuple[Pairs, int]] = [
        ([bearer(key)], 200),
        ([("authorization", f"bearer   {key} ")], 200),
        ([("x-api-key", key)], 200),
        ([("x-api-key", key), bearer(key)], 200),
        ([("x-api-key", key), bearer(other)], 400),
        ([bearer(key), bearer(key)], 400),
        ([("x-api-key", key), ("x-api-key", other)], 400),
        ([("authorization", f"Basic {key}")], 401),
        ([("authorization", key)], 401),
        ([bearer("")], 401),
        ([bearer(key + "0")], 401),
        ([bearer("lt_" + "é" * 80)], 401),
        ([("x-api-key", "\x00\r\n")], 401),
        ([bearer("x" * 100_000)], 401),
    ]
    for headers, status in ways:
        answer = ask(house.guard, "GET", "/v1/models", headers)
        assert answer.status == status, headers
        assert key not in answer.body.decode()
    assert ask(house.guard, "GET", "/v1/models", query_string=f"api_key={key}".encode()).status == 401


def test_revoked_and_expired_keys(house: House) -> None:
    revoke_key(house.path, "the-read", time.time())
    house.clock.now += 1
    answer = ask(house.guard, "GET", "/v1/models", [bearer(house.keys["read"])])
    assert (answer.status, answer.error["message"]) == (401, "the API key the-read is revoked.")
    assert ask(house.guard, "GET", "/v1/models", [bearer(house.keys["brief"])]).status == 200
    house.clock.now += 86_400
    answer = ask(house.guard, "GET", "/v1/models", [bearer(house.keys["brief"])])
    assert (answer.status, answer.error["message"]) == (401, "the API key brief is expired.")


def test_a_broken_keys_file_admits_nobody(house: House) -> None:
    house.path.chmod(0o644)
    house.clock.now += 1
    answer = ask(house.guard, "GET", "/v1/models", [bearer(house.keys["read"])])
    assert (answer.status, answer.error["code"]) == (503, "keys_unreadable")
    assert str(house.path) not in answer.error["message"]
    assert ask(house.guard, "GET", "/healthz").status == 200


def test_over_the_rate(house: House) -> None:
    key = [bearer(house.keys["slow"])]
    assert [ask(house.guard, "GET", path, key).status for path in ("/v1/models", "/nowhere")] == [200, 404]
    answer = ask(house.guard, "GET", "/v1/models", key)
    assert (answer.status, answer.error["type"], answer.headers["retry-after"]) == (429, "rate_limit_error", "30")
    assert ask(house.guard, "GET", "/v1/models", [bearer(house.keys["read"])]).status == 200
    house.clock.now += 30
    assert ask(house.guard, "GET", "/v1/models", key).status == 200


def test_what_the_application_is_given(house: House) -> None:
    headers = [bearer(house.keys["infer"]), ("X-Request-Id", "a.B-3_")]
    answer = ask(house.guard, "POST", "/predict", headers, b'{"text": "fine"}')
    told = json.loads(answer.body)
    assert told == {
        "length": 16,
        "state": {"request_id": "a.B-3_", "key": "the-infer", "json": {"text": "fine"}},
    }


@pytest.mark.parametrize(
    ("sent", "kept"),
    [("abc-1", True), ("x" * 64, True), ("x" * 65, False), ("", False), ("a b", False), ("a\nb", False), ("é", False)],
)
def test_request_ids(house: House, sent: str, kept: bool) -> None:
    for path in ("/healthz", "/nowhere"):
        found = ask(house.guard, "GET", path, [("x-request-id", sent)]).headers["x-request-id"]
        assert (found == sent) == kept
        assert found.isascii()
        assert 1 <= len(found) <= 64


@pytest.mark.parametrize("name", ["content-length", "content-type", "content-encoding", "transfer-encoding", "host"])
def test_headers_that_come_twice(house: House, name: str) -> None:
    headers = [bearer(house.keys["infer"]), (name, "1"), (name, "1")]
    answer = ask(house.guard, "POST", "/predict", headers, b"1")
    assert (answer.status, answer.error["code"], answer.error["param"]) == (400, "duplicate_header", name)


def test_bodies(house: House) -> None:
    key = [bearer(house.keys["infer"])]
    assert ask(house.guard, "POST", "/small", key, b'"12345678"').status == 200
    assert ask(house.guard, "POST", "/small", key, b'"123456789"').status == 413
    assert ask(house.guard, "POST", "/predict", key, b"{").status == 400
    assert ask(house.guard, "POST", "/predict", [*key, ("content-type", "text/plain")], b"{}").status == 415
    assert ask(house.guard, "POST", "/predict", [*key, ("content-encoding", "gzip")], b"{}").status == 415
    assert ask(house.guard, "POST", "/predict", [*key, ("content-length", "x")], b"{}").status == 400
    assert ask(house.guard, "POST", "/predict", key).status == 415


def test_a_body_where_none_belongs(house: House) -> None:
    key = [bearer(house.keys["admin"])]
    for method, path in (("GET", "/v1/models"), ("DELETE", "/admin/a"), ("POST", "/admin/a/roll_back")):
        answer = ask(house.guard, method, path, key, b"whatever")
        assert (answer.status, json.loads(answer.body)["length"]) == (200, 0)
        answer = ask(house.guard, method, path, key, b"x" * 70_000)
        assert (answer.status, answer.headers["connection"]) == (413, "close")


def test_a_refused_connection_is_kept_where_its_body_is_over(house: House) -> None:
    assert "connection" not in ask(house.guard, "POST", "/predict", (), b"{}").headers
    assert ask(house.guard, "POST", "/predict", (), b"x" * 70_000).headers["connection"] == "close"


def test_the_root_path_is_not_part_of_a_route(house: House) -> None:
    key = [bearer(house.keys["read"])]
    assert ask(house.guard, "GET", "/toy/v1/models", key, root_path="/toy").status == 200
    assert ask(house.guard, "GET", "/toyish/v1/models", key, root_path="/toy").status == 404


def test_one_line_a_request_without_what_was_sent(house: House, lines: list[str]) -> None:
    ask(house.guard, "POST", "/predict", [bearer(house.keys["infer"]), ("x-request-id", "r1")], b'{"text": "private"}')
    ask(house.guard, "GET", "/private\n{forged}", [bearer(house.keys["read"])])
    ask(house.guard, "DELETE", "/admin/private", [bearer("lt_private")])
    ask(house.guard, "BR\nEW", "/healthz", ())
    first, *rest = map(json.loads, lines)
    assert first.pop("ms") >= 0
    assert first.pop("time") > 0
    assert first == {
        "app": "toy",
        "method": "POST",
        "path": "/predict",
        "status": 200,
        "key": "the-infer",
        "request_id": "r1",
        "adapter": None,
    }
    assert [(line["method"], line["path"], line["status"], line["key"]) for line in rest] == [
        ("GET", "unknown", 404, "the-read"),
        ("DELETE", "/admin/{name}", 401, None),
        ("unknown", "/healthz", 405, None),
    ]
    whole = "".join(lines)
    assert whole.isprintable()
    assert "private" not in whole
    assert not any(key in whole for key in house.keys.values())
    text = house.meters.exposition().decode()
    assert 'serve_requests_total{adapter="",app="toy",route="/predict",status="200"} 1.0' in text
    assert 'serve_errors_total{app="toy",kind="not_found"} 1.0' in text
    assert "private" not in text


def guarded(app: object, meters: Meters) -> Guard:
    """An application in development mode."""
    return Guard(app, RULES, Development.MODE, None, meters)  # type: ignore[arg-type]


def test_the_adapter_is_logged_and_cannot_forge_a_line(lines: list[str]) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scope["state"]["adapter"] = "a\n\x1b" + "x" * 500
        await echo(scope, receive, send)

    assert ask(guarded(app, Meters("toy")), "GET", "/healthz", [LOCAL]).status == 200
    assert lines[0].isprintable()
    assert json.loads(lines[0])["adapter"] == "a\n\x1b" + "x" * 197


def test_an_application_that_fails(caplog: pytest.LogCaptureFixture) -> None:
    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        raise ValueError("a private text")

    answer = ask(guarded(broken, Meters("toy")), "GET", "/healthz", [LOCAL, ("x-request-id", "r1")])
    assert (answer.status, answer.error["type"], answer.headers["x-request-id"]) == (500, "server_error", "r1")
    assert "request r1 failed with ValueError" in caplog.text
    assert "private" not in caplog.text.replace('raise ValueError("a private text")', "")


def test_an_application_that_refuses_or_fails_midway() -> None:
    async def refusing(scope: Scope, receive: Receive, send: Send) -> None:
        raise Refusal(422, "no.", "wrong", "text")

    async def midway(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise ValueError

    meters = Meters("toy")
    answer = ask(guarded(refusing, meters), "GET", "/healthz", [LOCAL])
    assert (answer.status, answer.error["param"]) == (422, "text")
    answer = ask(guarded(midway, meters), "GET", "/healthz", [LOCAL])
    assert (answer.status, answer.body) == (200, b"")
    assert b'serve_errors_total{app="toy",kind="internal_error"} 1.0' in meters.exposition()


def test_development_mode_opens_all_to_this_machine_only() -> None:
    guard = guarded(echo, Meters("toy"))
    assert ask(guard, "DELETE", "/admin/a", [LOCAL]).status == 200
    assert ask(guard, "GET", "/nowhere", [LOCAL]).status == 404
    forwarded = [LOCAL, ("x-forwarded-for", "127.0.0.1")]
    for path in ("/healthz", "/nowhere"):
        assert ask(guard, "GET", path, forwarded, client=("10.0.0.1", 5)).status == 403
        assert ask(guard, "GET", path, [("host", "evil.example")]).status == 403
        assert ask(guard, "GET", path, [LOCAL, ("origin", "http://evil.example")]).status == 403
        assert ask(guard, "GET", path).status == 403


def test_lifespan_passes_and_web_sockets_do_not(house: House) -> None:
    seen: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["type"])

    guard = guarded(app, Meters("toy"))
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        sent.append(message)

    asyncio.run(guard({"type": "lifespan"}, receive, send))
    asyncio.run(guard({"type": "websocket", "path": "/healthz", "headers": []}, receive, send))
    assert seen == ["lifespan"]
    assert sent == [{"type": "websocket.close", "code": 1008}]


def test_a_client_that_leaves_is_noted(house: House, lines: list[str]) -> None:
    headers = [bearer(house.keys["infer"]), ("content-type", "application/json"), ("content-length", "9")]
    messages = [{"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"}]
    answer = asyncio.run(asked(house.guard, http_scope("POST", "/predict", headers), *messages))
    assert answer.status == 0
    assert json.loads(lines[0])["status"] == 499
