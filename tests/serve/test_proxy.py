"""HAProxy's statistics are bound to loopback, and its clients to a time for headers, by the script before it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from serve import proxy

CONFIG = """defaults
    mode http
frontend prometheus
    bind :{metrics}
frontend http_frontend
    bind 127.0.0.1:8000
listen stats
  bind *:{stats}
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="HAProxy comes with Ray on Linux")
def test_the_script_writes_loopback_and_runs_what_it_was_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    real = tmp_path / "the real one"
    real.write_text('#!/bin/sh\necho "$@"\n')
    real.chmod(0o700)
    monkeypatch.setattr(proxy, "_binary", lambda: str(real))
    found = proxy.proxy_environment()
    stats, metrics = found["RAY_SERVE_HAPROXY_STATS_PORT"], found["RAY_SERVE_HAPROXY_METRICS_PORT"]
    config = tmp_path / "haproxy.cfg"
    config.write_text(CONFIG.format(stats=stats, metrics=metrics))
    command = [found["RAY_SERVE_HAPROXY_BINARY_PATH"], "-db", "-f", str(config), "-sf", "12"]
    for _ in range(2):  # as when Ray has it read its configuration again
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == f"-db -f {config} -sf 12\n"
    lines = [line.strip() for line in config.read_text().splitlines() if "bind" in line]
    assert lines == [f"bind 127.0.0.1:{metrics}", "bind 127.0.0.1:8000", f"bind 127.0.0.1:{stats}"]
    assert config.read_text().splitlines()[:3] == ["defaults", "    timeout http-request 30s", "    mode http"]
    assert config.read_text().count("timeout http-request") == 1
    proxy.remove_files(found)
    assert not Path(command[0]).exists()
    again = proxy.proxy_environment()
    assert again["RAY_SERVE_HAPROXY_SOCKET_PATH"] != found["RAY_SERVE_HAPROXY_SOCKET_PATH"], "two servers share nothing"


def test_the_binary_that_ray_brings_is_found() -> None:
    binary = proxy._binary()
    assert binary is None or os.access(binary, os.X_OK)


def test_without_it_nothing_is_asked_of_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proxy, "_binary", lambda: None)
    assert proxy.proxy_environment() == proxy._ALWAYS
