"""What an engine's process uses and what its engine gets done between two reports: CPU, memory, rows and tokens a
second.

A measurement reads two clocks, one small file of the kernel and, on a GPU, one counter of torch, and waits for nothing:
tens of microseconds. Clocks make its values differ from run to run. Knows nothing of trials, of other processes on the
machine, or of children of this one; in a study that trains in its own process, the study's own work counts too.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from tuner.device import Device, gpu_memory_mb
from tuner.device_host import cores, process_mb

SHORTEST = 0.05
"""Seconds that a measurement covers at least, but for the first: over less, clocks tell more of chance than of work."""


class Usage:
    """Measures the engine on one device, from the moment it is made. One thread only.

    `clock` counts seconds, `cpu_clock` the seconds that all threads of this process have computed."""

    def __init__(
        self,
        device: Device,
        clock: Callable[[], float] = time.perf_counter,
        cpu_clock: Callable[[], float] = time.process_time,
    ) -> None:
        self.device = device
        self._clock = clock
        self._cpu_clock = cpu_clock
        self._cores = cores()
        self._last: Mapping[str, float] = {}
        self._mark()

    def trained(self, rows: int, tokens: int) -> None:
        """A trial has learned from so many training rows, of so many tokens."""
        self._rows += rows
        self._tokens += tokens

    def measure(self) -> Mapping[str, float]:
        """What happened since the last measurement; that one again where it is less than `SHORTEST` ago.

        cpu_percent: CPU of this process, 0 to 100 % of the cores that it may use.
        memory_mb: MiB that this process holds in memory now; where the system does not tell, the most it has held.
        device_memory_mb: MiB of this process's tensors on the GPU now, thus without what a step needs meanwhile. Only
            there for a GPU.
        engine_samples_per_second, engine_tokens_per_second: what all trials together trained on, by the clock on the
            wall, so that evaluation and waiting count as time.

        All are finite.
        """
        seconds = self._clock() - self._since
        if self._last and seconds < SHORTEST:
            return self._last
        seconds = max(seconds, 1e-9)
        computed = self._cpu_clock() - self._cpu_since
        found = {
            # a quota may allow a part of a core more than the whole ones that are counted
            "cpu_percent": min(100.0, 100 * computed / (seconds * self._cores)),
            "memory_mb": process_mb(),
            "engine_samples_per_second": self._rows / seconds,
            "engine_tokens_per_second": self._tokens / seconds,
        }
        device_memory = gpu_memory_mb(self.device)
        if device_memory is not None:
            found["device_memory_mb"] = device_memory
        self._last = found
        self._mark()
        return found

    def _mark(self) -> None:
        """The next measurement counts from here."""
        self._since, self._cpu_since = self._clock(), self._cpu_clock()
        self._rows = self._tokens = 0
