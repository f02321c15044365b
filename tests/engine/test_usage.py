"""What an engine uses and gets done: exact on clocks that the test turns, sane on this machine."""

from __future__ import annotations

import math

import pytest
import torch

from tuner import device_host
from tuner.device import Device, gpu_memory_mb, select_devices
from tuner.engine import usage
from tuner.engine.usage import SHORTEST, Usage

MEASURED = {"cpu_percent", "memory_mb", "engine_samples_per_second", "engine_tokens_per_second"}
GPU_MEMORY = "device_memory_mb"


class Hands:
    """A wall clock and a CPU clock that only the test turns."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, cores: int = 4) -> None:
        monkeypatch.setattr(usage, "cores", lambda: cores)
        self.wall, self.cpu = 100.0, 7.0
        self.usage = Usage(made("cpu"), lambda: self.wall, lambda: self.cpu)

    def turn(self, wall: float, cpu: float = 0.0) -> None:
        self.wall += wall
        self.cpu += cpu


def made(kind: str) -> Device:
    return Device("cpu" if kind == "cpu" else f"{kind}:0", kind, 0, "fp32", "", 1000.0, f"a {kind}")


@pytest.fixture
def hands(monkeypatch: pytest.MonkeyPatch) -> Hands:
    return Hands(monkeypatch)


def test_each_measurement_counts_from_the_last(hands: Hands) -> None:
    hands.usage.trained(30, 600)
    hands.usage.trained(10, 200)
    hands.turn(wall=2.0, cpu=2.0)
    first = hands.usage.measure()
    assert first["cpu_percent"] == pytest.approx(25)  # one core of four
    assert first["engine_samples_per_second"] == pytest.approx(20)
    assert first["engine_tokens_per_second"] == pytest.approx(400)
    hands.usage.trained(5, 50)
    hands.turn(wall=10.0, cpu=30.0)
    second = hands.usage.measure()
    assert second["cpu_percent"] == pytest.approx(75)
    assert second["engine_samples_per_second"] == pytest.approx(0.5)
    assert second["engine_tokens_per_second"] == pytest.approx(5)
    hands.turn(wall=1.0)
    idle = hands.usage.measure()
    assert (idle["cpu_percent"], idle["engine_samples_per_second"], idle["engine_tokens_per_second"]) == (0, 0, 0)


def test_too_soon_gives_the_last_again_and_loses_nothing(hands: Hands) -> None:
    hands.usage.trained(8, 80)
    hands.turn(wall=1.0, cpu=1.0)
    first = hands.usage.measure()
    hands.usage.trained(6, 60)
    hands.turn(wall=SHORTEST / 2, cpu=SHORTEST)
    assert hands.usage.measure() == first
    hands.turn(wall=1.0 - SHORTEST / 2, cpu=2.0 - SHORTEST)
    later = hands.usage.measure()
    assert later["cpu_percent"] == pytest.approx(50)
    assert later["engine_samples_per_second"] == pytest.approx(6)
    assert later["engine_tokens_per_second"] == pytest.approx(60)


@pytest.mark.parametrize("wall", [0.0, -5.0, 1e-6])
def test_all_are_finite_whatever_the_clock_says(hands: Hands, wall: float) -> None:
    hands.usage.trained(10, 100)
    hands.turn(wall, cpu=3.0)
    for found in (hands.usage.measure(), hands.usage.measure()):
        assert all(math.isfinite(value) and value >= 0 for value in found.values())
        assert found["cpu_percent"] <= 100


def test_a_quota_of_one_and_a_half_cores_is_used_up_at_100_percent(monkeypatch: pytest.MonkeyPatch) -> None:
    hands = Hands(monkeypatch, cores=1)
    hands.turn(wall=2.0, cpu=3.0)
    assert hands.usage.measure()["cpu_percent"] == 100


def test_cores_and_memory_are_those_of_this_process() -> None:
    """On the real clocks: work shows, and memory is what the kernel says."""
    mine = Usage(select_devices(["cpu"], "fp32")[0])
    kept = torch.ones(16 * 2**20, dtype=torch.uint8)
    values = torch.ones(200, 200)
    for _ in range(20):
        values = values @ values / 200
    found = mine.measure()
    assert found.keys() == MEASURED
    assert all(type(value) is float for value in found.values())
    assert 0 < found["cpu_percent"] <= 100
    assert found["memory_mb"] > kept.nbytes / 2**20
    assert found["memory_mb"] < device_host.memory_mb()


def test_only_a_gpu_has_memory_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _: 3 * 2**20)
    assert gpu_memory_mb(made("cpu")) is None
    assert gpu_memory_mb(made("cuda")) == 3
    found = Usage(made("cuda")).measure()
    assert found.keys() == MEASURED | {GPU_MEMORY}
    assert found[GPU_MEMORY] == 3


@pytest.mark.gpu
def test_the_memory_of_a_gpu_is_measured() -> None:
    device = select_devices()[0]
    before = Usage(device).measure()[GPU_MEMORY]
    kept = torch.ones(32 * 2**20, dtype=torch.uint8, device=device.torch)
    assert Usage(device).measure()[GPU_MEMORY] - before >= kept.nbytes / 2**20 - 1
