"""The parts of `serve`: registries filled, sides measured, aliases changed, answers checked. Prints a line a run."""

from __future__ import annotations

import asyncio
import json
import os
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.benchmarks import harness
from tests.benchmarks.harness import say
from tests.benchmarks.serve_adapters import BASE, WIDE, Maker, damage
from tests.benchmarks.serve_check import References, Verdict
from tests.benchmarks.serve_load import Answer, Load
from tests.benchmarks.serve_sides import BATCH, FAST, FASTAPI, OURS, SIDES, Task, empty, serving
from tests.benchmarks.serve_swaps import Swapped, changes, named, swaps
from tuner.bases.describe import describe
from tuner.registry import Registry, Version

ADAPTERS = 8
WARM_S = 3.0
OURS_WIDE = "ours_wide"


@dataclass(frozen=True)
class Figures:
    """One side in one round: requests a second, and latencies in ms."""

    rate: float
    p50: float
    p99: float

    @classmethod
    def of(cls, answers: Sequence[Answer]) -> Figures:
        """From the answers of one load."""
        seconds = sorted(answer.seconds for answer in answers)
        began = min(answer.at - answer.seconds for answer in answers)
        rate = len(answers) / (max(answer.at for answer in answers) - began)
        return cls(rate, 1e3 * statistics.median(seconds), 1e3 * seconds[int(len(seconds) * 0.99)])

    def __str__(self) -> str:
        return f"{self.rate:.0f} requests/s, p50 {self.p50:.1f} ms, p99 {self.p99:.1f} ms"


@dataclass(frozen=True)
class Fleet:
    """A registry with what was promoted to it, in order."""

    registry: Registry
    versions: list[Version] = field(default_factory=list)

    @property
    def firsts(self) -> dict[str, Version]:
        """Each name's first version, which its champion is."""
        return {version.name.name: version for version in reversed(self.versions)}

    @property
    def task(self) -> Task:
        """What every side is given."""
        folders = {name: self.registry.folder(version) for name, version in self.firsts.items()}
        return Task(describe(BASE).source, folders, self.registry.path)


class Bench:
    """The benchmark in a scratch folder. `seconds` of load on a side in each of `rounds`."""

    def __init__(self, folder: Path, rounds: int, seconds: float) -> None:
        self.folder = folder
        self.rounds = rounds
        self.seconds = seconds
        self.maker = Maker()
        self.texts = texts()
        self.references = References(BASE, self.texts)
        self.verdict = Verdict()
        self.threads: dict[str, int] = {}

    def ceiling(self) -> Figures:
        """The load generator against a server that computes nothing."""
        with empty(self.folder / "log.txt") as port:
            load = Load(port, ["none"], self.texts)
            asyncio.run(load.run_for(0.5))
            return Figures.of(asyncio.run(load.run_for(min(self.seconds, 3.0))))

    def throughput(self) -> dict[str, list[Figures]]:
        """All sides in paired rounds; the last one is ours with two wide adapters among ten."""
        eight, ten = self._fleet("eight", ADAPTERS), self._fleet("ten", ADAPTERS + 2, wide=2)
        self._choose_threads(eight)
        found: dict[str, list[Figures]] = {side: [] for side in (*SIDES, OURS_WIDE)}
        for repeat, side in harness.rounds(list(found), self.rounds):
            wide = side == OURS_WIDE
            found[side].append(self._measured(OURS if wide else side, ten if wide else eight, repeat))
            say(f"round {repeat + 1}, {side}: {found[side][-1]}")
        return found

    def capacity(self, many: int) -> dict[str, list[Figures]]:
        """Ours with one registered adapter and with many, in paired rounds."""
        fleets = {"one": self._fleet("one", 1), "many": self._fleet("many", many)}
        found: dict[str, list[Figures]] = {name: [] for name in fleets}
        for repeat, name in harness.rounds(list(fleets), self.rounds):
            found[name].append(self._measured(OURS, fleets[name], repeat))
            say(f"round {repeat + 1}, {len(fleets[name].versions)} registered: {found[name][-1]}")
        return found

    def changing(self, count: int, swap_count: int, corrupt: int, answers: int) -> tuple[list[float], Swapped]:
        """On one server of ours: `count` changes of one alias under light load, ms until each is seen; then swaps under
        full load, until there are `answers` answers."""
        fleet = self._fleet("changing", ADAPTERS)
        firsts = list(fleet.versions)
        seconds = [self._add(fleet, version.name.name, 1000 + at, alias=None) for at, version in enumerate(firsts)]
        fresh = [self._add(fleet, "fresh", 2000 + at, alias=None if at else "champion") for at in range(count + 1)]
        damaged = [
            self.maker.promote(fleet.registry, firsts[number % ADAPTERS].name.name, 3000 + number, alias=None)
            for number in range(corrupt)
        ]
        for number, version in enumerate(damaged):
            damage(fleet.registry.folder(version), number)
        with serving(OURS, fleet.task, self.folder / "log.txt") as port:
            asyncio.run(Load(port, list(fleet.firsts), self.texts).run_for(WARM_S))
            alias, light = asyncio.run(changes(port, fleet.registry, self.texts, fresh[1:]))
            pairs = list(zip(firsts, seconds, strict=True))
            swapped = asyncio.run(swaps(port, fleet.registry, self.texts, pairs, damaged, swap_count, answers))
        self.verdict += self.references.judge((*light, *swapped.answers), {})
        return alias, swapped

    def _fleet(self, name: str, adapters: int, wide: int = 0) -> Fleet:
        """A registry with that many adapters, the last `wide` of them of rank 16 on all of attention."""
        fleet = Fleet(Registry(self.folder / name))
        for seed in range(adapters):
            self._add(fleet, f"a{seed}", seed, **({"params": WIDE} if seed >= adapters - wide else {}))
        return fleet

    def _add(self, fleet: Fleet, name: str, seed: int, **more: Any) -> Version:
        """Promote one more version, and know where its reference lies."""
        version = self.maker.promote(fleet.registry, name, seed, **more)
        fleet.versions.append(version)
        self.references.folders[named(version)] = fleet.registry.folder(version)
        return version

    def _choose_threads(self, fleet: Fleet) -> None:
        """Give the stock sides the number of torch's threads that each is faster with here."""
        for side in (FASTAPI, BATCH):
            rates = {}
            for threads in sorted({1, os.cpu_count() or 1}):
                self.threads[side] = threads
                rates[threads] = self._measured(side, fleet, 0).rate
            self.threads[side] = max(rates, key=rates.__getitem__)
            tried = ", ".join(f"{rate:.0f} requests/s with {threads}" for threads, rate in rates.items())
            say(f"threads of {side}: {tried}")
        self.threads[FAST] = self.threads[BATCH]

    def _measured(self, side: str, fleet: Fleet, seed: int) -> Figures:
        """Start a side, warm it up, load it, end it. Raises SystemExit if a request fails, or if stock is wrong."""
        with serving(side, fleet.task, self.folder / "log.txt", self.threads.get(side, 1)) as port:
            load = Load(port, list(fleet.firsts), self.texts, seed=seed)
            # adapters that the server reads when first asked are all read before the clock starts
            warm = [*asyncio.run(load.run_each()), *asyncio.run(load.run_for(WARM_S))]
            answers = asyncio.run(load.run_for(self.seconds))
        if failed := [answer for answer in (*warm, *answers) if answer.status != 200]:
            raise SystemExit(f"{side} answered {failed[0].status} in {len(failed)} cases: {failed[0].body[:500]!r}")
        champions = {name: named(version) for name, version in fleet.firsts.items()}
        verdict = self.references.judge((*warm, *answers), champions)
        if side == OURS:
            self.verdict += verdict
        elif verdict.wrong:
            raise SystemExit(f"{side} gave {verdict.wrong} wrong answers: {verdict.words[0]}")
        return Figures.of(answers)


def texts() -> list[str]:
    """The project's reviews for validation, 400 of them."""
    lines = (harness.DATA / "validation.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["text"] for line in lines if line.strip()]
