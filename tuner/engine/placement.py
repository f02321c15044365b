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
# On a CPU eight adapters already fill the matrix products; more would start more trials before the sampler knows
# anything.
MOST_TRIALS = {_GPU: 32, _APPLE: 16, _CPU: 16}
"""The most trials that an engine trains at once, by kind of device."""


@dataclass(frozen=True)
class Place:
    """Where one engine runs: its device as it will see it, a label that tells it from others, a node, its threads, and
    the most trials it may train at once (it will take fewer if memory says so)."""

    device: Device
    label: str
    node_id: str
    threads: int
    max_pack: int


def place_engines(wanted: Sequence[str] | str, nodes: Sequence[Mapping[str, Any]]) -> list[Place]:
    """One place an engine. `nodes` are Ray's (`ray.nodes()`).

    "auto" takes all CUDA devices of the cluster, else all of Apple's, else one CPU engine a node. Named kinds ("cuda",
    "cpu") take all of that kind, "cuda:1" one more GPU, whichever Ray hands out. A CPU engine leaves one core to each
    GPU engine on its node. Raises DeviceError for what the cluster lacks."""
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
            places.append(_place(_CPU, _CPU, node, threads))
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


def _place(kind: str, label: str, node: Mapping[str, Any], threads: int) -> Place:
    name = f"{_GPU}:0" if kind == _GPU else kind
    host = str(node.get("NodeManagerHostname", ""))
    device = Device(name, kind, 0, dtype_name="", reason="", memory_mb=0.0, label=host)
    return Place(device, label, str(node["NodeID"]), threads, MOST_TRIALS[kind])
