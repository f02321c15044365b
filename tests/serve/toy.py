"""A real sentiment base of a few thousand parameters, real adapters on it in a real registry, and their references."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import socket
import sys
import threading
import traceback
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from serve.desk import Desk
from serve.hub import LOOK_S
from serve.service import Service
from serve.settings import ServeSettings, TaskSettings
from tests.engine import toy
from tuner import tasks as tuner_tasks
from tuner.registry import AdapterName, Origin, Registry, Version

COUNT = 6
TEXTS = [text for text, _ in toy.make_rows(24, seed=11)]
BY = "cli:test"


def name_of(name: str = "reviews") -> AdapterName:
    """The registry's name of an adapter."""
    return AdapterName("sentiment", name)


@dataclass(frozen=True)
class Adapters:
    """Saved adapters on one base, with the probability of the label 1 that each alone gives to each of `TEXTS`."""

    base: Path
    folders: tuple[Path, ...]
    reference: tuple[Mapping[str, float], ...]


def make(base: Path, folder: Path, count: int = COUNT) -> tuple[Path, ...]:
    """Adapters on a base, each as far from it as a long training would bring it; ranks differ."""
    packing = toy.make_packing(base, max_pack=count)
    generator = torch.Generator().manual_seed(7)
    found = []
    for number in range(count):
        trial = f"t{number}"
        packing.start(toy.make_spec(trial, seed=number, rank=2 + number, alpha=8))
        store, slot = packing.store, packing.trials[trial].slot
        far = {name: torch.randn(value.shape, generator=generator) * 0.5 for name, value in store.tensors(slot).items()}
        store.layout.fill(store.weights[slot], far)
        store.restore(slot, "average", far)
        tensors, params = packing.adapter(trial, "last")
        packing.task.save(folder / trial, tensors, params)
        found.append(folder / trial)
    return tuple(found)


def probability_of_one(answer: Any) -> float:
    """Of an answer in words or as an object."""
    found = answer if isinstance(answer, Mapping) else vars(answer)
    return float(found["probability"] if found["label"] == 1 else 1 - found["probability"])


@pytest.fixture(scope="session")
def adapters(toy_bases: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Adapters:
    """Six of them on the toy BERT."""
    folders = make(toy_bases["bert"], tmp_path_factory.mktemp("adapters"))
    spec = tuner_tasks.spec("sentiment")
    return Adapters(
        toy_bases["bert"],
        folders,
        tuple(
            dict(zip(TEXTS, map(probability_of_one, spec.predictor(each).predict(TEXTS)), strict=True))
            for each in folders
        ),
    )


def promote(registry: Registry, folder: Path, name: str = "reviews", alias: str | None = "champion") -> Version:
    """Publish a folder unlooked at, so that what a server must refuse can be published too."""
    base = json.loads((folder / "tuner.json").read_text())["base_model"]
    return registry.promote(folder, name_of(name), origin=Origin(base), alias=alias, check=lambda _: None, by=BY)


def point(registry: Registry, version: Version, alias: str = "champion") -> None:
    """Let an alias point to one version."""
    registry.set_alias(version.name, alias, {version.version: 1.0}, by=BY)


def called(version: Version) -> str:
    """A version as answers name it."""
    return f"{version.name.name}@{version.version}"


def changed(source: Path, target: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> Path:
    """A copy of an adapter with other weights."""
    shutil.copytree(source, target)
    weights = target / "adapter_model.safetensors"
    tensors = load_file(weights)
    change(tensors)
    save_file(tensors, weights)
    return target


def writable(folder: Path) -> Path:
    """A published version, to be damaged."""
    for path in folder.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return folder


def settings(registry: Registry, base: Path, development: bool = True, **task: Any) -> ServeSettings:
    """Of a server of sentiment alone, on the CPU."""
    own = {"base_model": str(base), "device": "cpu", "threads": 1, **task}
    return ServeSettings(
        registry=registry.path,
        keys=registry.path.parent / "keys.json",
        development=development,
        drain_s=5.0,
        tasks={"sentiment": TaskSettings(**own)},
    )


@contextlib.asynccontextmanager
async def serving(registry: Registry, base: Path, **task: Any) -> AsyncIterator[Service]:
    """A service while the context lasts; behind it no request may have left a user."""
    service = await Service.start("sentiment", settings(registry, base, **task), Desk(), "sentiment#one")
    try:
        yield service
        await unused(service)
    finally:
        await service.close()


async def unused(service: Service) -> None:
    """Wait until no request is under way; none may hold an adapter then."""
    await until(lambda: not service.runtime.under_way)
    assert users(service) == {}


@contextlib.contextmanager
def listening(settings: ServeSettings) -> Iterator[str]:
    """The address of a server of all applications, in an event loop of a thread of its own."""
    from serve.local import serve_here

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    loop = asyncio.new_event_loop()
    ready, up = asyncio.Event(), threading.Event()

    async def serve() -> None:
        serving = asyncio.ensure_future(serve_here(settings.model_copy(update={"port": port}), ready))
        waiting = asyncio.ensure_future(ready.wait())
        await asyncio.wait({serving, waiting}, return_when=asyncio.FIRST_COMPLETED)
        tasks.append(serving)
        up.set()
        waiting.cancel()
        await asyncio.wait([serving])

    tasks: list[asyncio.Future[None]] = []
    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()), daemon=True)
    thread.start()
    try:
        assert up.wait(120), f"the server did not come up:\n{_stacks()}"
        assert not tasks[0].done(), tasks[0].exception()
        yield f"http://127.0.0.1:{port}"
    finally:
        if tasks:  # else it hangs, and what it holds is left to it
            loop.call_soon_threadsafe(tasks[0].cancel)
            thread.join()
            loop.run_until_complete(loop.shutdown_default_executor())
            loop.close()


def _stacks() -> str:
    """Where every thread of this process is."""
    return "\n".join("".join(traceback.format_stack(frame)) for frame in sys._current_frames().values())


@contextlib.contextmanager
def held(service: Service, error: Exception | None = None) -> Iterator[None]:
    """The model stands still before its next step, and goes on behind the context, or fails in that step."""
    base: Any = service.runtime.base
    step, opened = base.step, threading.Event()

    def stepped() -> int:
        opened.wait()
        base.step = step
        if error is not None:
            raise error
        return int(step())

    base.step = stepped
    try:
        yield
    finally:
        opened.set()


def room_for(service: Service, adapters: int) -> None:
    """Leave memory for so many adapters, and none of them in it."""
    table = service.runtime.base.table
    assert all(table.drop(key) for key in table.keys())  # noqa: SIM118  it is no mapping
    table.capacity = adapters * table._rows.layout.size * 4


def users(service: Service) -> dict[str, int]:
    """How many requests hold each resident adapter, where any does."""
    residents = service.runtime.base.table._residents.values()
    return {each.key: each.users for each in residents if each.users}


def resident(service: Service) -> set[str]:
    """The adapters in memory."""
    return set(service.runtime.base.table.keys())


async def until(true: Callable[[], Any]) -> None:
    """Wait until something is so: what another thread or task brings about."""
    while not true():
        await asyncio.sleep(LOOK_S / 10)


async def ask(service: Service, adapter: str | None = None, text: str = TEXTS[0]) -> tuple[str, float]:
    """Which version answers a text, and how probable it thinks the label 1."""
    answered = await service.runtime.answer(text, adapter)
    return answered.adapter, probability_of_one(answered.value)


async def served_by(service: Service, versions: Sequence[Version], reference: str = "reviews") -> None:
    """Wait until the versions of a reference are these."""
    alias = reference if "@" in reference else f"{reference}@champion"
    wanted = {version.version for version in versions}

    def so() -> bool:
        target = service.runtime.hub.served.get(alias)
        return target is not None and {share.version for share in target.split} == wanted

    await until(so)
