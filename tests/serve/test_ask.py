"""The client of the Makefile."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from serve.ask import main
from serve.keys import create_key
from tests.serve import toy
from tests.serve.toy import Adapters, called, promote
from tuner.registry import Registry


@pytest.mark.parametrize("keys", [True, False])
def test_a_text_and_health(
    adapters: Adapters,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    keys: bool,
) -> None:
    registry = Registry(tmp_path / "registry")
    version = promote(registry, adapters.folders[0])
    settings = toy.settings(registry, adapters.base, development=not keys)
    monkeypatch.setenv("KEY", create_key(settings.keys, "asker", ["infer"], 0.0)[1] if keys else "")
    with toy.listening(settings) as address:
        monkeypatch.setenv("URL", address)
        assert main(["health"]) == 0
        assert json.loads(capsys.readouterr().out)["status"] == "ready"
        assert main([toy.TEXTS[0]]) == 0
        assert json.loads(capsys.readouterr().out)["adapter"] == called(version)
        assert main([""]) == 1  # the server's own words
        assert json.loads(capsys.readouterr().out)["error"]["code"] == "invalid_text"
        if keys:
            monkeypatch.setenv("KEY", "tk-no")
            assert main([toy.TEXTS[0]]) == 1
            assert "API key" in capsys.readouterr().out


@contextmanager
def answering(line: bytes) -> Iterator[str]:
    """The address of something that answers with these bytes."""

    class Odd(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.wfile.write(line)
            self.close_connection = True

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Odd) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "nonsense", "ftp://x", "http://[", "file:///etc/passwd"])
def test_nobody_answers(url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("URL", url)
    assert main(["health"]) == 1
    assert "Start it with: make serve" in capsys.readouterr().err


@pytest.mark.parametrize("line", [b"nonsense\r\n", b"", b"HTTP/1.0 200 OK\r\nContent-Length: 9\r\n\r\nshort"])
def test_something_else_answers(
    line: bytes, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with answering(line) as url:
        monkeypatch.setenv("URL", url)
        assert main(["health"]) == 1
        assert "does not answer" in capsys.readouterr().err


def test_how_it_is_used(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == main(["a", "b"]) == 2
    assert "Use: python -m serve.ask" in capsys.readouterr().err
