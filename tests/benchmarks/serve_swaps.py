"""What `serve` measures while aliases change: how soon a change is seen, and whether any answer suffers, also when
the new version's files are damaged."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass

from tests.benchmarks.serve_load import Answer, Load
from tuner.registry import AdapterName, Registry, Version

NEVER_MS = 20_000.0
"""After so long, a version that no answer names counts as never seen."""
CORRUPT_S = 0.3  # a refused version gets: several looks of a server at the registry


class Watch:
    """Hears of every answer, and waits for the first that names a version."""

    def __init__(self) -> None:
        self._wanted = b""
        self._seen: asyncio.Future[float] | None = None

    def __call__(self, answer: Answer) -> None:
        if self._seen is not None and answer.status == 200 and self._wanted in answer.body:
            self._seen.set_result(answer.at)
            self._seen = None

    async def change(self, registry: Registry, version: Version) -> float:
        """Let the champion point to a version; milliseconds from the change's return until an answer names it,
        `NEVER_MS` if none does."""
        self._wanted = named(version).encode()
        seen = self._seen = asyncio.get_running_loop().create_future()
        await asyncio.to_thread(point, registry, version)
        changed = time.perf_counter()
        try:
            async with asyncio.timeout(NEVER_MS / 1e3):
                return 1e3 * max(await seen - changed, 0.0)
        except TimeoutError:
            self._seen = None
            return NEVER_MS


def named(version: Version) -> str:
    """A version as answers name it."""
    return f"{version.name.name}@{version.version}"


def point(registry: Registry, version: Version) -> None:
    """Let the champion of a version's name be that version."""
    registry.set_alias(version.name, "champion", {version.version: 1.0}, by="benchmark")


async def changes(
    port: int, registry: Registry, texts: Sequence[str], versions: Sequence[Version]
) -> tuple[list[float], list[Answer]]:
    """Change one name's alias to each version in turn while one client asks it: milliseconds until each is seen, and
    the answers. Every version is new to the server, so it reads, checks and tries it in that time."""
    watch = Watch()
    load = Load(port, [versions[0].name.name], texts, clients=1, seen=watch)
    done = asyncio.Event()
    asking = asyncio.create_task(load.run(lambda: not done.is_set()))
    found = [await watch.change(registry, version) for version in versions]
    done.set()
    return found, await asking


@dataclass(frozen=True)
class Swapped:
    """What 16 clients got while aliases changed, and after how many ms each change to an intact version was seen."""

    answers: list[Answer]
    seen_ms: list[float]

    @property
    def errors(self) -> int:
        """Answers other than 2xx."""
        return sum(not 200 <= answer.status < 300 for answer in self.answers)

    @property
    def never_seen(self) -> int:
        """Changes to intact versions that no answer showed."""
        return sum(took >= NEVER_MS for took in self.seen_ms)


async def swaps(
    port: int,
    registry: Registry,
    texts: Sequence[str],
    intact: Sequence[tuple[Version, Version]],
    corrupt: Sequence[Version],
    count: int,
    answers: int,
) -> Swapped:
    """Change champions `count` times under load, in a seeded order: to each corrupt version once, else to the one of a
    name's two intact versions that does not serve. Goes on asking until there are `answers` answers."""
    watch = Watch()
    load = Load(port, [first.name.name for first, _ in intact], texts, seen=watch)
    ended = asyncio.Event()
    asking = asyncio.create_task(load.run(lambda: not ended.is_set() or len(load.answers) < answers))
    serving: dict[AdapterName, Version] = {}
    order: list[Version | None] = [*corrupt, *[None] * (count - len(corrupt))]
    random.Random(0).shuffle(order)
    seen = []
    for number, bad in enumerate(order):
        if bad is not None:
            await asyncio.to_thread(point, registry, bad)
            await asyncio.sleep(CORRUPT_S)
            continue
        first, second = intact[number % len(intact)]
        new = first if serving.get(first.name, first) is second else second
        serving[first.name] = new
        seen.append(await watch.change(registry, new))
    ended.set()
    return Swapped(await asking, seen)
