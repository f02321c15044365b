"""Wherever a change is cut off, the registry is as before or as after it, whole; what is left is swept."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tests.registry.toys import BY, NAME, make_adapter, promote, several
from tuner.errors import StoreError
from tuner.registry import Registry, RegistryState
from tuner.registry.registry import LEFT_OVER

CALLS = ("replace", "fsync", "fchmod", "mkdir")


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    registry = Registry(tmp_path / "registry")
    several(registry, tmp_path, 2)
    return registry


def full() -> None:
    """What every writer meets one day."""
    raise OSError(28, "No space left on device")


def killed() -> None:
    """The end of the process: nothing tidies up."""
    os._exit(9)


def faults(monkeypatch: pytest.MonkeyPatch, fail: Callable[[], None], at: int, after: bool) -> list[str]:
    """Let the so many-th call that touches the disk fail, before or after it did its work. Lists the calls."""
    calls: list[str] = []

    def wrap(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            calls.append(name)
            due = len(calls) == at
            if due and not after:
                fail()
            result = real(*arguments, **named)
            if due and after:
                fail()
            return result

        return call

    for name in CALLS:
        monkeypatch.setattr(os, name, wrap(name, getattr(os, name)))
    return calls


def whole(registry: Registry, states: list[RegistryState]) -> None:
    """The state is one of these but for times of day, and every version in it is whole."""
    state = registry.state()
    assert shape(state) in [shape(each) for each in states]
    for adapter in state.adapters.values():
        for entry in adapter.versions.values():
            registry.verify(entry)


def shape(state: RegistryState) -> Any:
    return [
        state.generation,
        {
            name: (list(adapter.versions), {alias: [c.target for c in cs] for alias, cs in adapter.history.items()})
            for name, adapter in state.adapters.items()
        },
    ]


def copies(registry: Registry, path: Path) -> Iterator[Registry]:
    """Fresh copies of a registry."""
    for number in count():
        shutil.copytree(registry.path, path / f"copy-{number}", symlinks=True)
        yield Registry(path / f"copy-{number}")


def cut(change: Callable[[], None], fail: Callable[[], None], at: int, after: bool) -> bool:
    """Make a change in another process that fails at one step; whether it got that far."""
    child = os.fork()
    if child == 0:
        with pytest.MonkeyPatch.context() as patch:
            calls = faults(patch, fail, at, after)
            with suppress(StoreError):
                change()
            os._exit(9 if len(calls) >= at else 0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


@pytest.mark.parametrize("fail", [killed, full])
@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize(("act", "steps"), [("promote", 12), ("set_alias", 3), ("delete", 4)])
def test_a_cut_at_every_step(
    registry: Registry, tmp_path: Path, act: str, steps: int, after: bool, fail: Callable[[], None]
) -> None:
    source = make_adapter(tmp_path / "new", 7)
    old = next(iter(registry.state().adapter(NAME).versions))

    def change(which: Registry) -> None:
        if act == "promote":
            promote(which, source)
        elif act == "set_alias":
            which.set_alias(NAME, "canary", {old: 1}, by=BY)
        else:
            which.delete(NAME, old, by=BY)

    fresh = copies(registry, tmp_path)
    done = next(fresh)
    change(done)
    states = [registry.state(), done.state()]
    at, more = 0, True
    while more:
        at += 1
        broken = next(fresh)
        more = cut(partial(change, broken), fail, at, after)
        whole(broken, states)
        if fail is full and not after:  # what fails tidies up
            assert not list(broken.path.glob("versions/*/*/.new-*"))
        if broken.state().generation == states[0].generation:
            change(broken)  # what was cut off can be done again
        whole(broken, states[1:])
    assert at > steps, "every step was cut"


def test_a_killed_promotion_leaves_a_folder_that_the_next_sweeps(registry: Registry, tmp_path: Path) -> None:
    code = (
        "import os, sys\nfrom pathlib import Path\nfrom tuner.registry import AdapterName, Origin, Registry\n"
        "Registry(Path(sys.argv[1])).promote(Path(sys.argv[2]), AdapterName('sentiment', 'reviews'),\n"
        "    origin=Origin('toy'), alias='champion', check=lambda folder: os._exit(9), by='x')\n"
    )
    state = registry.state()
    source = make_adapter(tmp_path / "new", 7)
    command = [sys.executable, "-c", code, str(registry.path), str(source)]
    assert subprocess.run(command, cwd=Path(__file__).parents[2], check=False).returncode == 9
    assert registry.state() == state
    (left,) = registry.path.glob("versions/*/*/.new-*")
    promote(registry, source)
    assert left.exists(), "it may be another's that is still at work"
    long_ago = left.stat().st_mtime - LEFT_OVER - 60
    os.utime(left, (long_ago, long_ago))
    promote(registry, source)
    assert not left.exists()
