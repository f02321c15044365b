"""On Ray Serve: a server as a user starts it answers, lets nobody else in, follows the registry, replaces a replica
that dies, and ends."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest
import yaml

from serve.deploy import application, replica_options
from serve.keys import create_key
from serve.settings import ServeSettings, TaskSettings
from tests.readme import ROOT
from tests.serve import toy
from tests.serve.toy import Adapters, called, point, promote
from tuner.errors import ConfigError
from tuner.registry import Registry

PATIENCE_S = 120.0


def test_what_ray_is_asked_for() -> None:
    settings = ServeSettings(drain_s=7, tasks={"sentiment": TaskSettings(queue=64, cpus=2, gpus=0.5)})
    own = settings.tasks["sentiment"]
    options = replica_options(own, settings, 3)
    assert options["num_replicas"] == 3
    assert options["ray_actor_options"] == {"num_cpus": 2, "num_gpus": 0.5}
    assert (options["graceful_shutdown_timeout_s"], options["max_ongoing_requests"] > 64) == (7, True)
    scaled = replica_options(own.model_copy(update={"max_replicas": 5}), settings, 3)
    assert "num_replicas" not in scaled
    assert scaled["autoscaling_config"] == {"min_replicas": 3, "max_replicas": 5, "target_ongoing_requests": 8}


def test_a_task_that_the_settings_lack() -> None:
    with pytest.raises(ConfigError, match="Use one of: sentiment, gateway"):
        application({"task": "fashion", "settings": {"tasks": {"sentiment": {}}}})


def test_the_serve_config_file_brings_up_every_task() -> None:
    from ray.serve.schema import ServeDeploySchema

    data = yaml.safe_load((ROOT / "cluster" / "serve.yaml").read_text(encoding="utf-8"))
    found = ServeDeploySchema.model_validate(data)
    everything = ServeSettings()
    assert {app.args["task"] for app in found.applications} == {*everything.tasks, "gateway"}
    for app in found.applications:
        assert app.import_path == "serve.deploy:application"
        assert app.route_prefix in ("/", f"/{app.name}")
        application(app.args)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("served")


@pytest.fixture(scope="module")
def server(place: Path, adapters: Adapters) -> Iterator[tuple[str, dict[str, str], subprocess.Popen[str]]]:
    """`tuner serve` with keys, two replicas of the toy base."""
    registry = Registry(place / "results" / "registry")
    promote(registry, adapters.folders[0])
    _, key = create_key(place / "results" / "keys.json", "test", ["infer", "deploy", "read"], time.time())
    config = {"tasks": {"sentiment": {"base_model": str(adapters.base), "replicas": 2, "threads": 1, "cpus": 0.1}}}
    (place / "serve.yaml").write_text(yaml.safe_dump(config))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    words = ["-m", "tuner", "serve", "--config", "serve.yaml", "--port", str(port)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    environment.pop("RAY_ADDRESS", None)
    words = [sys.executable, *words]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    process = subprocess.Popen(words, cwd=place, env=environment, text=True, **pipes)
    try:
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            if line.startswith("Serving"):
                break
        assert any(line.startswith("Serving") for line in lines), "".join(lines)
        yield f"http://127.0.0.1:{port}", {"X-API-Key": key}, process
    finally:
        for child in psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []:
            child.kill()
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def ask(server: tuple[str, dict[str, str], Any], text: str = toy.TEXTS[0]) -> httpx2.Response:
    return httpx2.post(f"{server[0]}/sentiment/predict", json={"text": text}, headers=server[1], timeout=60)


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_server_from_its_start_to_its_end(
    server: tuple[str, dict[str, str], subprocess.Popen[str]], place: Path, adapters: Adapters
) -> None:
    address, key, process = server
    registry = Registry(place / "results" / "registry")
    (first,) = registry.state().adapter(toy.name_of()).versions.values()
    answer = ask(server).json()
    assert answer["adapter"] == f"reviews@{first.version}"
    assert toy.probability_of_one(answer) == pytest.approx(adapters.reference[0][toy.TEXTS[0]], abs=2e-5)
    assert httpx2.post(f"{address}/sentiment/predict", json={"text": "x"}, timeout=60).status_code == 401
    assert httpx2.get(f"{address}/readyz", timeout=60).json() == {"status": "ready", "tasks": {"sentiment": "ready"}}

    # a change is followed by both replicas, with no request lost
    second = promote(registry, adapters.folders[1], alias=None)
    point(registry, second)
    deadline, streak = time.monotonic() + PATIENCE_S, 0
    while streak < 20 and time.monotonic() < deadline:
        found = ask(server)
        assert found.status_code == 200
        streak = streak + 1 if found.json()["adapter"] == called(second) else 0
    assert streak == 20

    # over HTTP too, and metrics of both replicas in one page
    path = f"{address}/admin/adapters/sentiment/reviews/aliases/champion"
    rolled = httpx2.post(f"{path}/rollback", json={"why": "a test"}, headers=key, timeout=60)
    assert rolled.status_code == 200, rolled.text
    entries = [json.loads(line) for line in (registry.path / "audit.jsonl").read_text().splitlines()]
    assert [entry["action"] for entry in entries] == ["rollback"]
    page = httpx2.get(f"{address}/metrics", headers=key, timeout=60).text
    assert (
        len({line.split('replica="')[1].split('"')[0] for line in page.splitlines() if 'app="sentiment"' in line}) == 2
    )

    # only loopback listens
    family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    proxies = [each for each in family if "haproxy" in each.name()]
    doors = [link.laddr.ip for each in proxies for link in each.net_connections("inet") if link.status == "LISTEN"]
    assert set(doors) <= {"127.0.0.1", "::1"}

    # a replica that dies is replaced, and the new one finds its adapters in the registry alone
    replica = next(each for each in family if each.name().startswith("ray::ServeRepli") and _serves_sentiment(each))
    os.kill(replica.pid, signal.SIGKILL)
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        now = psutil.Process(process.pid).children(recursive=True)
        fresh = [each for each in now if each not in family and _serves_sentiment(each)]
        if fresh and ask(server).status_code == 200:
            break
        time.sleep(0.2)
    assert fresh, "no replica came in its place"
    assert ask(server).json()["adapter"] in (called(second), f"reviews@{first.version}")

    process.send_signal(signal.SIGINT)
    process.wait(timeout=PATIENCE_S)
    assert process.returncode == 0


def _serves_sentiment(process: psutil.Process) -> bool:
    try:
        return any("ServeReplica:sentiment" in word for word in process.cmdline())
    except psutil.Error:
        return False
