"""How many replicas a task gets, and how many threads each, where the settings do not say.

A small base on a CPU is held once a core, up to eight times, each replica with one thread: two threads that meet after
every product wait for each other whenever one of them loses its core to the requests that come in, so that on two
cores two replicas answer 230 requests a second where one with two threads answers 170 (measured). A large base is held
once, with every thread. On a GPU one replica has the device.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from serve.settings import ServeSettings
from tuner.device_host import cores
from tuner.errors import TunerError

SMALL = 500 * 10**6  # bytes of weights that a replica may hold for itself
MOST = 8  # replicas that nobody asked for: each is a process with torch and adapters of its own


@dataclass(frozen=True)
class Scale:
    """Replicas of a task and threads of each."""

    replicas: int
    threads: int


def threads_of(settings: ServeSettings) -> int:
    """A task's equal share of this machine's cores."""
    return max(1, cores() // len(settings.tasks))


def scale_of(task: str, settings: ServeSettings, base_model: str, *, on_cpu: bool) -> Scale:
    """What the settings say, and what fits this machine's cores where they say nothing."""
    own = settings.tasks[task]
    share = threads_of(settings)
    if own.replicas is not None or own.threads is not None or not on_cpu or not _is_small(base_model):
        replicas = own.replicas or 1
        return Scale(replicas, own.threads or max(1, share // replicas))
    return Scale(min(share, MOST, own.max_replicas or MOST), 1)


def _is_small(base_model: str) -> bool:
    """Whether the weights lie on this disk and are few; what the hub holds is not asked for."""
    from tuner.bases.describe import describe

    try:
        folder = Path(describe(base_model).source)
    except TunerError:
        return False  # of another kind (pictures), or not there, which the replica says better
    sizes = [path.stat().st_size for path in folder.glob("*.safetensors")] if folder.is_dir() else []
    return 0 < sum(sizes) <= SMALL
