"""All applications in one process."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest

from serve.local import local_app, serve_here
from tests.serve import toy
from tests.serve.toy import Adapters, called, promote
from tuner.errors import BaseModelError, ConfigError
from tuner.registry import Registry


def test_it_ends_when_it_is_cancelled(registry: Registry, adapters: Adapters) -> None:
    version = promote(registry, adapters.folders[0])
    with toy.listening(toy.settings(registry, adapters.base)) as address:
        answer = httpx2.post(f"{address}/sentiment/predict", json={"text": toy.TEXTS[0]}, timeout=60)
        assert answer.json()["adapter"] == called(version)
    with pytest.raises(httpx2.ConnectError):
        httpx2.get(f"{address}/healthz")


def test_other_logs_of_the_process_stay_open(registry: Registry, adapters: Adapters) -> None:
    promote(registry, adapters.folders[0])
    ends: list[str] = []

    class Other(logging.Handler):
        def close(self) -> None:
            ends.append("closed")
            super().close()

    other = Other()
    with toy.listening(toy.settings(registry, adapters.base)):
        assert not ends
    other.close()


def test_a_port_in_use_is_said_before_anything_is_loaded(registry: Registry) -> None:
    with socket.create_server(("127.0.0.1", 0)) as door:
        settings = toy.settings(registry, Path("/no/base"))
        settings = settings.model_copy(update={"port": door.getsockname()[1]})
        with pytest.raises(ConfigError, match="cannot be listened on"):
            asyncio.run(serve_here(settings, asyncio.Event()))


def test_a_task_that_cannot_start(registry: Registry) -> None:
    async def main() -> None:
        with pytest.raises(BaseModelError):
            async with local_app(toy.settings(registry, Path("/no/base"))):
                pass

    asyncio.run(main())


SCRIPT = """
import asyncio, sys
from pathlib import Path
from serve.local import serve_here
from tests.serve import toy
from tuner.registry import Registry

async def main():
    ready = asyncio.Event()
    settings = toy.settings(Registry(Path(sys.argv[1])), Path(sys.argv[2]))
    settings = settings.model_copy(update={"port": int(sys.argv[3])})
    serving = asyncio.create_task(serve_here(settings, ready))
    await ready.wait()
    print("ready", flush=True)
    await serving

try:
    asyncio.run(main())
except KeyboardInterrupt:
    pass
"""


def test_a_signal_ends_it(registry: Registry, adapters: Adapters) -> None:
    promote(registry, adapters.folders[0])
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-c", SCRIPT, str(registry.path), str(adapters.base), str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 0, errors
    assert "Traceback" not in errors
