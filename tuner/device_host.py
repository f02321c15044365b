"""What this process may use of its machine: cores and memory, less where a container says so. Knows no torch."""

from __future__ import annotations

import os
import sys
from pathlib import Path

_MB = 2**20
_CGROUP = Path("/sys/fs/cgroup")


def cores(cgroup: Path = _CGROUP) -> int:
    """Cores this process may use: its affinity, less where a container's quota is smaller; at least 1."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _words(cgroup / "cpu.max")
    if len(quota) == 2 and quota[0].isdigit():
        count = min(count, max(1, int(quota[0]) // int(quota[1])))
    return count


def memory_mb(cgroup: Path = _CGROUP) -> float:
    """Memory of the machine in MiB, or the container's limit where that is less."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for limit in (_words(cgroup / "memory.max"), _words(cgroup / "memory" / "memory.limit_in_bytes")):
        if limit and limit[0].isdigit():
            memory = min(memory, int(limit[0]))
    return memory / _MB


def process_mb() -> float:
    """MiB that this process holds in memory; where the system does not tell, the most it has held."""
    statm = _words(Path("/proc/self/statm"))
    if statm:
        return int(statm[1]) * os.sysconf("SC_PAGE_SIZE") / _MB
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (_MB if sys.platform == "darwin" else 1024)  # bytes on macOS, KiB elsewhere


def _words(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except OSError:
        return []
