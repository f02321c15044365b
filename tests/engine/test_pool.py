"""Which engine takes a trial, and which engines a cluster gets: pure functions of what is known."""

from __future__ import annotations

from typing import Any

import pytest

from tuner.engine.contract import EngineInfo, EngineLoad
from tuner.engine.placement import place_engines, share_cores
from tuner.engine.pool import choose
from tuner.errors import DeviceError


def info(max_pack: int = 4, speed: float = 0.0) -> EngineInfo:
    return EngineInfo("e", "cpu", "fp32", max_pack, samples_per_second=speed)


def load(trials: int = 0, left: int = 0, speed: float = 0.0) -> EngineLoad:
    return EngineLoad(trials, left, speed)


@pytest.mark.parametrize(
    ("infos", "loads", "expected"),
    [
        pytest.param([info(), info()], [load(2, 200), load(1, 100)], 1, id="the emptier of two unmeasured ones"),
        pytest.param([info(), info()], [load(2, 200, 100), load(1, 100, 10)], 0, id="the one that finishes sooner"),
        pytest.param([info(speed=100), info(speed=10)], [load(2, 200), load(1, 100)], 0, id="speed measured at rest"),
        pytest.param([info(1), info()], [load(1, 10, 1000), load(3, 5000, 1)], 1, id="a full one is skipped"),
        pytest.param([info(1), info(1)], [load(1), load(1)], None, id="all are full"),
        pytest.param([], [], None, id="there is none"),
        pytest.param([info(), info()], [load(3, 300, 100), load(0, 0)], 1, id="unmeasured is as fast as the others"),
        pytest.param([info(), info()], [load(0, 0, 100), load(0, 0)], 0, id="of equals the first"),
    ],
)
def test_choose(infos: list[EngineInfo], loads: list[EngineLoad], expected: int | None) -> None:
    assert choose(infos, loads, 100) == expected


def test_what_is_needed_matters() -> None:
    infos, loads = [info(), info()], [load(4, 0, 10), load(1, 900, 100)]
    loads = [load(1, 0, 10), load(1, 900, 100)]
    assert choose(infos, loads, 10) == 0
    assert choose(infos, loads, 1000) == 1


def node(name: str = "a", alive: bool = True, **resources: float) -> dict[str, Any]:
    return {"NodeID": name, "Alive": alive, "Resources": resources, "NodeManagerHostname": name}


def labels(wanted: Any, *nodes: dict[str, Any]) -> list[tuple[str, str, int]]:
    return [(place.node_id, place.label, place.threads) for place in place_engines(wanted, nodes)]


def test_auto_takes_the_best_kind_there_is() -> None:
    assert labels("auto", node(CPU=2)) == [("a", "cpu", 1), ("a", "cpu", 1)]
    assert labels("auto", node(CPU=8, GPU=2)) == [("a", "cuda:0", 1), ("a", "cuda:1", 1)]
    assert labels("auto", node("a", CPU=8), node("b", CPU=4, GPU=1)) == [("b", "cuda:0", 1)]
    assert labels("auto", node("a", CPU=2), node("b", CPU=1)) == [("a", "cpu", 1)] * 2 + [("b", "cpu", 1)]
    assert labels("auto", node(CPU=8, GPU=1, mps=1)) == [("a", "mps:0", 1)]


def test_mixed_devices_leave_a_core_to_each_gpu() -> None:
    assert labels(["cuda", "cpu"], node(CPU=3, GPU=2)) == [("a", "cuda:0", 1), ("a", "cuda:1", 1), ("a", "cpu", 1)]


@pytest.mark.parametrize(
    ("cores", "concurrent", "threads", "most"),
    [
        (1, None, (1,), 16),
        (2, None, (1, 1), 8),
        (6, None, (1, 1, 1, 1, 1, 1), 3),
        (12, None, (2, 2, 2, 2, 1, 1, 1, 1), 2),
        (8, 8, (2, 2, 2, 2), 4),
        (8, 3, (8,), 16),
    ],
)
def test_cores_become_engines_that_each_have_trials_to_pack(
    cores: int, concurrent: int | None, threads: tuple[int, ...], most: int
) -> None:
    share = share_cores(cores, concurrent)
    assert (share.threads, share.max_pack) == (threads, most)
    assert sum(share.threads) == cores
    assert len(share.threads) * share.max_pack >= (concurrent or 16)


def test_a_numbered_device_is_one() -> None:
    assert labels(["cuda:0"], node(CPU=8, GPU=4)) == [("a", "cuda:0", 1)]
    assert len(labels(["cuda:0", "cuda:3"], node(CPU=8, GPU=4))) == 2


def test_every_gpu_is_the_first_to_its_own_actor() -> None:
    assert {place.device.name for place in place_engines("auto", [node(CPU=8, GPU=3)])} == {"cuda:0"}


@pytest.mark.parametrize(
    ("wanted", "there"),
    [
        (["cuda"], [node(CPU=8)]),
        (["cuda:0", "cuda:1"], [node(CPU=8, GPU=1)]),
        (["mps"], [node(CPU=8, GPU=1)]),
        ("auto", [node(alive=False, CPU=8)]),
        (["cuda", "cpu"], [node(CPU=8)]),
    ],
)
def test_what_is_not_there_is_refused_with_what_is(wanted: Any, there: list[dict[str, Any]]) -> None:
    with pytest.raises(DeviceError, match="It offers"):
        place_engines(wanted, there)
