"""The sides of `serve` as processes: each started as its user starts it, asked until it answers, and ended with its
children."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.benchmarks.harness import ROOT

START_S = 180.0
STOP_S = 60.0
FASTAPI, BATCH, FAST, OURS = "fastapi", "serve_batch", "serve_batch_fast_proxy", "ours"
SIDES = (FASTAPI, BATCH, FAST, OURS)
READY = {BATCH: "is ready at", FAST: "is ready at", OURS: "Serving at"}
"""What a side says when all of it is deployed. It answers before, but its proxy then closes connections when it learns
of the rest."""
SETTLE_S = 4.0  # that the proxy may take to learn of it
_FAST_PROXY = {"RAY_SERVE_ENABLE_HA_PROXY": "1", "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1"}


@dataclass(frozen=True)
class Task:
    """What a side serves: the base's folder, adapters by name (those of stock as folders), the registry of ours."""

    base: str
    adapters: Mapping[str, Path]
    registry: Path


@contextmanager
def serving(side: str, task: Task, log: Path, threads: int = 1) -> Iterator[int]:
    """The port of a side that answers; `threads` are torch's on stock sides. Raises SystemExit with the process's last
    words if it does not."""
    port = _free_port()
    command = [sys.executable, "-m", *_command(side, task, port, threads)]
    with _process(command, _FAST_PROXY if side == FAST else {}, log) as child:
        _wait(child, port, next(iter(task.adapters)), log, READY.get(side, ""))
        if side in READY:
            time.sleep(SETTLE_S)
        yield port


@contextmanager
def empty(log: Path) -> Iterator[int]:
    """The port of a server that computes nothing."""
    port = _free_port()
    with _process([sys.executable, "-m", "tests.benchmarks.serve_load", str(port)], {}, log) as child:
        _wait(child, port, "none", log)
        yield port


def _command(side: str, task: Task, port: int, threads: int) -> list[str]:
    if side == OURS:
        options = ["--registry", str(task.registry), "--port", str(port), "--development", "--tasks", "sentiment"]
        return ["tuner", "serve", *options]
    adapters = {name: str(folder) for name, folder in task.adapters.items()}
    job = {"port": port, "base": task.base, "adapters": adapters, "threads": threads}
    module = "serve_stock_fastapi" if side == FASTAPI else "serve_stock_ray"
    return [f"tests.benchmarks.{module}", json.dumps(job)]


@contextmanager
def _process(command: list[str], extra: Mapping[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    environment = {
        **os.environ,
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        **extra,
    }
    with log.open("wb") as sink:
        child = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=sink, stderr=subprocess.STDOUT)
        try:
            yield child
        finally:
            _end(child)


def _end(child: subprocess.Popen[bytes]) -> None:
    """Ask it to end, then end what is left of it and of its children."""
    try:
        family = psutil.Process(child.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        family = []
    child.terminate()
    try:
        child.wait(STOP_S)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
    _, left = psutil.wait_procs(family, timeout=5)
    for each in left:
        each.kill()
    psutil.wait_procs(left, timeout=5)


def _wait(child: subprocess.Popen[bytes], port: int, adapter: str, log: Path, ready: str = "") -> None:
    ask = json.dumps({"text": "The sole came off after a week.", "adapter": adapter}).encode()
    address, kind = f"http://127.0.0.1:{port}/sentiment/predict", {"content-type": "application/json"}
    until, said = time.monotonic() + START_S, ""
    while time.monotonic() < until and child.poll() is None:
        try:
            with urllib.request.urlopen(urllib.request.Request(address, ask, kind), timeout=30):
                if ready in log.read_text(encoding="utf-8", errors="replace"):
                    return
                said = f"It answers, but has not said {ready!r}."
        except urllib.error.HTTPError as error:
            said = f"{error}: {error.read()[:500].decode(errors='replace')}"
        except OSError as error:
            said = str(error)
        time.sleep(0.2)
    words = log.read_text(encoding="utf-8", errors="replace")[-4000:]
    raise SystemExit(f"A server did not start to answer: {child.args}\n{said}\nIts last words:\n{words}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
