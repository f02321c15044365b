"""How benchmarks in one process time a job on a device and set two sides against each other.

Apart from `harness.py`, which the stock sides import: they are not to wait for a module of the tuner.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence

from tuner.device import Device, synchronize


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
