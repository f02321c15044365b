"""Sentiment over HTTP: a real server, with keys and without, asked well and badly."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest
import uvicorn

from serve.keys import create_key
from tests.serve import toy
from tests.serve.toy import Adapters, called, promote
from tuner.registry import Registry, Version

TEXT = toy.TEXTS[0]
MAX_TEXT = 2000


class Served:
    """A server's address, what it serves, and a key that may ask."""

    def __init__(self, address: str, version: Version, key: str, weak: str) -> None:
        self.version = version
        self.weak = weak
        self.client = httpx2.Client(base_url=address, headers={"X-API-Key": key} if key else {}, timeout=60)

    def post(self, body: bytes | dict[str, Any], **headers: str) -> httpx2.Response:
        """The answer to a body."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.client.post(
            "/sentiment/predict", content=content, headers={"Content-Type": "application/json", **headers}
        )


@pytest.fixture(scope="module", params=["keys", "development"])
def served(
    request: pytest.FixtureRequest, adapters: Adapters, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    registry = Registry(tmp_path_factory.mktemp("predict") / "registry")
    version = promote(registry, adapters.folders[0])
    settings = toy.settings(registry, adapters.base, request.param == "development", max_text=MAX_TEXT)
    key = weak = ""
    if not settings.development:
        key = create_key(settings.keys, "asker", ["read", "infer"], time.time())[1]
        weak = create_key(settings.keys, "reader", ["read"], time.time())[1]
    with toy.listening(settings) as address:
        found = Served(address, version, key, weak)
        with found.client:
            yield found


def test_one_text(served: Served, adapters: Adapters) -> None:
    answer = served.post({"text": TEXT, "adapter": "reviews"})
    assert answer.status_code == 200
    body = answer.json()
    assert toy.probability_of_one(body) == pytest.approx(adapters.reference[0][TEXT], abs=1e-5)
    assert body["adapter"] == called(served.version)
    assert body["language"] == "English"
    assert body["name"] == ("negative", "positive")[body["label"]]
    assert body["latency_ms"] > 0
    assert set(body) == {"label", "name", "probability", "language", "latency_ms", "base_model", "adapter"}


def test_several_texts(served: Served, adapters: Adapters) -> None:
    body = served.post({"texts": toy.TEXTS}).json()
    assert [toy.probability_of_one(each) for each in body["predictions"]] == pytest.approx(
        [adapters.reference[0][text] for text in toy.TEXTS], abs=1e-5
    )
    assert served.post({"texts": [TEXT] * 64}).status_code == 200


BAD: dict[str, tuple[bytes | dict[str, Any], int]] = {
    "an empty text": ({"text": ""}, 422),
    "white space": ({"text": " \t\n"}, 422),
    "NUL": ({"text": "a\0b"}, 422),
    "NUL among several": ({"texts": ["fine", "a\0b"]}, 422),
    "half a character": (rb'{"text": "\ud83d alone"}', 400),
    "a text too long": ({"text": "a" * (MAX_TEXT + 1)}, 422),
    "a megabyte": ({"text": "a" * 1_000_000}, 422),
    "65 texts": ({"texts": [TEXT] * 65}, 422),
    "no texts": ({"texts": []}, 422),
    "an empty one among several": ({"texts": [TEXT, ""]}, 422),
    "both": ({"text": TEXT, "texts": [TEXT]}, 422),
    "neither": ({}, 422),
    "null": ({"text": None}, 422),
    "an unknown field": ({"text": TEXT, "temperature": 1}, 422),
    "a number": ({"text": 5}, 422),
    "a huge number": (b'{"text": 1' + b"0" * 5000 + b"}", 400),
    "a list": ({"text": [TEXT]}, 422),
    "nested": (b'{"text": ' + b"[" * 30 + b"]" * 30 + b"}", 422),
    "nested too deep": (b'{"text": ' + b"[" * 5000 + b"]" * 5000 + b"}", 400),
    "a bare list": (b"[]", 422),
    "a bare number": (b"1", 422),
    "a bare null": (b"null", 422),
    "no JSON": (b"text=a", 400),
    "cut JSON": (b'{"text": "a', 400),
    "no UTF-8": (b'{"text": "\xff"}', 400),
    "nothing": (b"", 400),
    "a path as adapter": ({"text": TEXT, "adapter": "../x"}, 404),
    "an absolute path": ({"text": TEXT, "adapter": "/etc/passwd"}, 404),
    "two signs": ({"text": TEXT, "adapter": "a@b@c"}, 404),
    "another task's": ({"text": TEXT, "adapter": "shoe_qa/mold"}, 404),
    "an unknown one": ({"text": TEXT, "adapter": "nobody"}, 404),
    "an unknown version": ({"text": TEXT, "adapter": "reviews@0123456789ab"}, 404),
    "NUL in the adapter": ({"text": TEXT, "adapter": "re\0views"}, 404),
    "a long adapter": ({"text": TEXT, "adapter": "a" * 201}, 422),
    "an adapter that is a number": ({"text": TEXT, "adapter": 10**30}, 422),
    "the base alone": ({"text": TEXT, "adapter": ""}, 404),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(served: Served, case: str) -> None:
    body, status = BAD[case]
    answer = served.post(body)
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["code"]
    assert len(error["message"]) < 600
    assert "Traceback" not in answer.text
    assert served.post({"text": TEXT}).status_code == 200  # and the server goes on


@pytest.mark.parametrize(
    ("headers", "status"),
    [({"Content-Type": "text/plain"}, 415), ({"Content-Encoding": "gzip"}, 415), ({"Accept": "image/png"}, 200)],
)
def test_headers(served: Served, headers: dict[str, str], status: int) -> None:
    assert served.post({"text": TEXT}, **headers).status_code == status


def test_unknown_adapters_name_the_known_ones(served: Served) -> None:
    error = served.post({"text": TEXT, "adapter": "revews"}).json()["error"]
    assert "Known: reviews." in error["message"]
    assert (error["param"], error["code"]) == ("adapter", "model_not_found")


def test_who_may_ask(served: Served) -> None:
    if not served.weak:
        pytest.skip("in development mode everybody on this machine may")
    assert served.post({"text": TEXT}, **{"X-API-Key": served.weak}).status_code == 403
    assert served.post({"text": TEXT}, **{"X-API-Key": "tk-none"}).status_code == 401


def test_what_is_served(served: Served) -> None:
    get = served.client.get
    assert get("/readyz").json() == {"status": "ready", "tasks": {"sentiment": "ready"}}
    assert get("/sentiment/readyz").json()["status"] == "ready"
    assert get("/sentiment/healthz").status_code == get("/healthz").status_code == 200
    assert get("/").json()["tasks"] == {"sentiment": "/sentiment"}
    while 'serve_requests_total{replica="sentiment#local"' not in get("/metrics").text:  # it is reported by and by
        time.sleep(0.05)
    text = get("/sentiment/metrics").text
    assert called(served.version) in text
    assert "serve_adapters_resident{" in text
    assert get("/sentiment").status_code == get("/sentiment/predict/").status_code == 404
    assert get("/sentiment/predict").status_code == 405


def test_a_text_of_another_language(registry_of_english: Served) -> None:
    answer = registry_of_english.post({"text": "鞋底一週後就掉了"}).json()
    assert answer["language"] == "Chinese"
    assert "Chinese" in answer["warning"]
    assert "warning" not in registry_of_english.post({"text": TEXT}).json()


@pytest.fixture
def registry_of_english(adapters: Adapters, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """The toy base knows no language of its own."""
    from tuner.tasks.sentiment import serving

    described = serving.describe
    monkeypatch.setattr(serving, "describe", lambda *known: replace(described(*known), languages=("en",)))
    registry = Registry(tmp_path / "registry")
    version = promote(registry, adapters.folders[0])
    with toy.listening(toy.settings(registry, adapters.base)) as address:
        found = Served(address, version, "", "")
        with found.client:
            yield found


def test_clients_that_leave_in_the_middle(adapters: Adapters, tmp_path: Path) -> None:
    """Sockets closed right behind a request; what they asked lets go of its adapter, and others are answered."""
    registry = Registry(tmp_path / "registry")
    version = promote(registry, adapters.folders[0])
    body = json.dumps({"texts": toy.TEXTS}).encode()
    head = b"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"

    async def main() -> None:
        async with toy.serving(registry, adapters.base) as service:
            server = uvicorn.Server(uvicorn.Config(service.app, lifespan="off", log_config=None))
            with socket.create_server(("127.0.0.1", 0)) as door:
                serving = asyncio.create_task(server.serve(sockets=[door]))
                await toy.until(lambda: server.started)
                with toy.held(service):
                    for sent in (head % len(body) + body, head % len(body) + body[:20], head % (len(body) + 1) + body):
                        _, writer = await asyncio.open_connection(*door.getsockname())
                        writer.write(sent)
                        await writer.drain()
                        if sent.endswith(body) and b" %d\r" % len(body) in sent:
                            await toy.until(lambda: service.runtime.under_way == len(toy.TEXTS))
                        writer.close()
                        await writer.wait_closed()
                    assert toy.users(service) == {called(version): 1}
                await toy.unused(service)
                assert (await toy.ask(service))[0] == called(version)
                server.should_exit = True
                await serving

    asyncio.run(main())
