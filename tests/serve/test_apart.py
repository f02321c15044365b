"""A promotion in a process of its own: what comes back, and what is left when it is ended."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
from pathlib import Path
from typing import Any

import pytest

from serve.apart import Asked, promote_apart
from serve.errors import AdapterFailedError, TooSlowError
from tests.cli.samples import record
from tests.cli.samples import save as save_study
from tests.serve.studies import endless_base, make_study, move_base, read_by
from tests.serve.toy import Adapters
from tuner.errors import ConfigError, StudyError
from tuner.registry import AdapterName, Registry

LONG = 300.0
NAME = AdapterName("sentiment", "reviews")


def asked(root: Path, **changes: Any) -> Asked:
    """The winner of the study "first" as the champion of sentiment/reviews."""
    fields = {"study": "first", "trial": None, "name": NAME, "alias": "champion", "by": "http:ci", **changes}
    return Asked(root / "registry", root / "results", **fields)


def test_the_version_comes_back(adapters: Adapters, tmp_path: Path) -> None:
    make_study(tmp_path / "results", adapters)
    version = asyncio.run(promote_apart(asked(tmp_path, trial="t002"), LONG))
    adapter = Registry(tmp_path / "registry").state().adapter(NAME)
    assert list(adapter.versions) == [version]
    assert adapter.versions[version].by == "http:ci"
    assert not multiprocessing.active_children()


@pytest.mark.parametrize(
    ("changes", "kind", "message"),
    [
        ({"study": "../results/first"}, ConfigError, "no slash"),
        ({"study": ".."}, ConfigError, "no slash"),
        ({"study": "first\0"}, ConfigError, "no slash"),
        ({"study": "x" * 200}, ConfigError, "there is no such study"),
        ({"study": "ü" * 200}, ConfigError, "there is no such study"),
        ({"study": "going"}, StudyError, "no best adapter yet"),
        ({"trial": "t000"}, ConfigError, "over HTTP the winner alone is promoted, t002"),
        ({"trial": "t9"}, ConfigError, "has no such trial"),
        ({"name": AdapterName("shoe_qa", "x")}, ConfigError, "Name it sentiment/x."),
    ],
)
def test_its_errors_are_those_of_here(
    adapters: Adapters, tmp_path: Path, changes: dict[str, Any], kind: type[Exception], message: str
) -> None:
    make_study(tmp_path / "results", adapters)
    save_study(tmp_path / "results", record("going"))
    with pytest.raises(kind, match=message):
        asyncio.run(promote_apart(asked(tmp_path, **changes), LONG))


def left_nothing(root: Path) -> bool:
    """Whether neither a process nor a half copy is left."""
    return not multiprocessing.active_children() and not list((root / "registry").glob("versions/*/*/.new-*"))


@pytest.fixture
def endless(adapters: Adapters, tmp_path: Path) -> Path:
    """The pipe that the promotion of the study "first" reads for ever."""
    folder, _ = make_study(tmp_path / "results", adapters)
    move_base(folder, tmp_path / "slow")
    return endless_base(tmp_path / "slow")


def test_a_base_that_loads_for_ever_is_given_up(endless: Path, tmp_path: Path) -> None:
    with pytest.raises(TooSlowError, match=r"no answer within 0.2 s"):
        asyncio.run(promote_apart(asked(tmp_path), 0.2))
    assert left_nothing(tmp_path)


def test_a_process_that_is_killed_is_said_to_have_ended(endless: Path, tmp_path: Path) -> None:
    async def killed() -> None:
        promoting = asyncio.create_task(promote_apart(asked(tmp_path), LONG))
        writer = await read_by(promoting, endless)
        (child,) = multiprocessing.active_children()
        child.kill()
        try:
            await promoting
        finally:
            os.close(writer)

    with pytest.raises(AdapterFailedError, match="ended without a word"):
        asyncio.run(killed())
    assert left_nothing(tmp_path)


def test_who_no_longer_waits_ends_it(endless: Path, tmp_path: Path) -> None:
    async def cancelled() -> None:
        promoting = asyncio.create_task(promote_apart(asked(tmp_path), LONG))
        writer = await read_by(promoting, endless)
        promoting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await promoting
        os.close(writer)

    asyncio.run(cancelled())
    assert left_nothing(tmp_path)
