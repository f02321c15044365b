"""How benchmarks in one process time a job on a device and set two sides against each other.

Apart from `harness.py`, which the stock sides import: they are not to wait for a module of the tuner.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Sequence

from tuner.device import KINDS, Device, select_devices, synchronize


def best_device(name: str, *, quick: bool) -> Device:
    """The best device there is, which must be no CPU but in the quick form. Ends with exit code 2 and a sentence where
    it is one."""
    device = select_devices()[0]
    if device.kind == KINDS[-1] and not quick:
        needs = "needs a CUDA or MPS device, and this machine has none; --quick shows on any that it runs."
        print(f"The {name} benchmark {needs}", file=sys.stderr)
        raise SystemExit(2)
    return device


def seconds(device: Device, job: Callable[[bool], None], warm: bool = False) -> float:
    """What a job takes on a device; with `warm` it does a small part."""
    synchronize(device)
    began = time.perf_counter()
    job(warm)
    synchronize(device)
    return time.perf_counter() - began


def paired(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """The median over the rounds of ours / theirs."""
    return statistics.median(mine / other for mine, other in zip(ours, theirs, strict=True))
