"""Which engines a study gets on a Ray cluster, from what its nodes offer; no torch, no look at the devices themselves.

Ray says how many GPUs a node has before anything runs there, so the driver need not import torch to plan; each engine
checks its device when it comes up. Inside an actor that holds one GPU, that GPU is device 0, whatever its number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tuner.device import KINDS, Device
from tuner.errors import DeviceError

_GPU, _APPLE, _CPU = KINDS
_RESOURCE = {_GPU: "GPU", _APPLE: "mps", _CPU: "CPU"}
# More trials at once on a CPU would only start more of them before the sampler knows anything.
MOST_TRIALS = {_GPU: 32, _APPLE: 16, _CPU: 16}
"""The most trials that a device trains at once, by its kind; the engines of one CPU share them."""

BUSY_TRIALS = {_GPU: 8, _APPLE: 4, _CPU: 2}
"""So many trials at once keep a device busy, by its kind; for CPUs, each of their engines. On a CPU a trial more takes
nearly its full share of the others' time, so a search does better with few: on 2 cores searches of 16 trials with 4 at
once stood at 72 % accuracy after 29, 31 and 29 s, with 8 at once after 68, 33 and 34 s. In all they took 82 and 78 s on
average."""


@dataclass(frozen=True)
class Place:
    """Where one engine runs: its device as it will see it, a label that tells it from others, a node, its threads, and
    the most trials it may train at once (where memory is short it trains fewer of them in one step)."""

    device: Device
    label: str
    node_id: str
    threads: int
    max_pack: int


@dataclass(frozen=True)
class CpuShare:
    """How the cores of a node become engines: the threads of each, and the most trials that each trains at once."""

    threads: tuple[int, ...]
    max_pack: int


def share_cores(threads: int, concurrent: int | None) -> CpuShare:
    """Engines for `threads` cores that train `concurrent` trials at once (None: as many as there may be).

    Engines of one thread do more than one of many, because small operations do not wait for threads to meet: on 2
    cores, two with 8 trials each trained 24 % more tokens a second than one with 16, and with 1 trial one thread did
    more than two. On one thread a pack of 4 trains nearly as fast as one of 8, a pack of 2 three quarters as fast. Each
    engine has a base of its own in memory, so one is added for each 2 trials only."""
    most = min(concurrent or MOST_TRIALS[_CPU], MOST_TRIALS[_CPU])
    engines = max(1, min(threads, most // BUSY_TRIALS[_CPU]))
    each, more = divmod(threads, engines)
    return CpuShare(tuple(each + (index < more) for index in range(engines)), -(-MOST_TRIALS[_CPU] // engines))


def place_engines(
    wanted: Sequence[str] | str, nodes: Sequence[Mapping[str, Any]], concurrent: int | None = None
) -> list[Place]:
    """One place an engine. `nodes` are Ray's (`ray.nodes()`); `concurrent` trials are to run at once.

    "auto" takes all CUDA devices of the cluster, else all of Apple's, else the cores of each node (`share_cores`).
    Named kinds ("cuda", "cpu") take all of that kind, "cuda:1" one more GPU, whichever Ray hands out. CPU engines leave
    one core to each GPU engine on their node. Raises DeviceError for what the cluster lacks."""
    alive = [node for node in nodes if node.get("Alive")]
    offers = {kind: sum(_count(node, kind) for node in alive) for kind in KINDS}
    if isinstance(wanted, str):
        kinds = [next((kind for kind in KINDS if offers[kind]), _CPU)] if wanted == "auto" else [wanted]
    else:
        kinds = list(wanted)
    limits: dict[str, int] = {}
    for name in kinds:
        kind, _, index = name.partition(":")
        limits[kind] = limits.get(kind, 0) + 1 if index else offers[kind]
    missing = [kind for kind, limit in limits.items() if limit > offers[kind] or limit == 0]
    if missing:
        have = ", ".join(f"{count:g} {_RESOURCE[kind]}" for kind, count in offers.items() if count) or "nothing"
        raise DeviceError(
            f"devices = {kinds}: the cluster has too few of {', '.join(missing)}. "
            f"It offers {have}: use one of these or auto."
        )
    places: list[Place] = []
    for node in alive:
        accelerators = 0
        for kind in (_GPU, _APPLE):
            for number in range(min(limits.get(kind, 0), _count(node, kind))):
                limits[kind] -= 1
                accelerators += 1
                places.append(_place(kind, f"{kind}:{number}", node, 1))
        threads = _count(node, _CPU) - accelerators
        if limits.get(_CPU) and threads >= 1:
            share = share_cores(threads, concurrent)
            places += [_place(_CPU, _CPU, node, each, share.max_pack) for each in share.threads]
    if not places:
        raise DeviceError(
            f"devices = {kinds}: no node has a core left for an engine. Start nodes with --num-cpus 1 or more."
        )
    return places


def _count(node: Mapping[str, Any], kind: str) -> int:
    resources = node.get("Resources", {})
    # Ray reports an Apple GPU as GPU; such nodes are started with a resource of their own.
    if kind == _GPU and resources.get(_RESOURCE[_APPLE]):
        return 0
    return int(resources.get(_RESOURCE[kind], 0))


def _place(kind: str, label: str, node: Mapping[str, Any], threads: int, max_pack: int | None = None) -> Place:
    name = f"{_GPU}:0" if kind == _GPU else kind
    host = str(node.get("NodeManagerHostname", ""))
    device = Device(name, kind, 0, dtype_name="", reason="", memory_mb=0.0, label=host)
    return Place(device, label, str(node["NodeID"]), threads, max_pack or MOST_TRIALS[kind])
