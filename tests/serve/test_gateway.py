"""The application at the root."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from serve.desk import Desk
from serve.gateway import gateway_app
from serve.keys import create_key
from serve.problems import App
from serve.settings import ServeSettings
from tests.serve import walk
from tests.serve.asgi import Answer, ask
from tuner.errors import ConfigError

HERE = [("host", "127.0.0.1")]


def gateway(folder: Path, development: bool = True, **troubles: str) -> App:
    settings = ServeSettings(
        registry=folder / "registry", results=folder, keys=folder / "keys.json", development=development
    )

    async def found() -> Mapping[str, str]:
        return {"sentiment": "", "shoe_qa": "", **troubles}

    return gateway_app(settings, Desk(), found)


def get(app: App, path: str, *headers: tuple[str, str]) -> Answer:
    return ask(app, "GET", path, [*HERE, *headers], query_string=b"", scheme="http", server=("127.0.0.1", 80))


def test_every_route_is_guarded_and_described(tmp_path: Path) -> None:
    walk.check(gateway(tmp_path))


def test_ready_when_all_are(tmp_path: Path) -> None:
    answer = get(gateway(tmp_path), "/readyz")
    assert answer.status == 200
    assert json.loads(answer.body)["tasks"] == {"sentiment": "ready", "shoe_qa": "ready"}
    answer = get(gateway(tmp_path, shoe_qa="it loads"), "/readyz")
    assert answer.status == 503
    assert json.loads(answer.body) == {"status": "trouble", "tasks": {"sentiment": "ready", "shoe_qa": "it loads"}}
    assert get(gateway(tmp_path, shoe_qa="it loads"), "/healthz").status == 200


def test_what_needs_a_key(tmp_path: Path) -> None:
    _, key = create_key(tmp_path / "keys.json", "reader", ["read"], 0.0)
    app = gateway(tmp_path, development=False)
    assert {path: get(app, path).status for path in ("/healthz", "/readyz", "/", "/metrics", "/openapi.json")} == {
        "/healthz": 200,
        "/readyz": 200,
        "/": 401,
        "/metrics": 401,
        "/openapi.json": 401,
    }
    assert get(app, "/", ("x-api-key", key)).status == 200
    assert get(app, "/admin/adapters", ("x-api-key", key)).status == 403


def test_metrics_are_those_of_all(tmp_path: Path) -> None:
    desk = Desk()
    asyncio.run(desk.report("sentiment#one", b"# HELP a b\n# TYPE a counter\na 1.0\n"))

    async def none() -> Mapping[str, str]:
        return {}

    settings = ServeSettings(registry=tmp_path, results=tmp_path, keys=tmp_path / "keys.json", development=True)
    body = get(gateway_app(settings, desk, none), "/metrics").body
    assert b'a{replica="sentiment#one"} 1.0' in body
    assert b'replica="gateway#"' in body


def test_development_is_for_loopback(tmp_path: Path) -> None:
    async def none() -> Mapping[str, str]:
        return {}

    settings = ServeSettings(registry=tmp_path, results=tmp_path, host="0.0.0.0", development=True)
    with pytest.raises(ConfigError, match="host"):
        gateway_app(settings, Desk(), none)
