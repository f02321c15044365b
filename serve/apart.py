"""Promoting beside a server's work: in a process of its own, which may take its time and memory, and may be ended.

Names come from a request, so a study is looked up by name among the server's results, and only its winner is promoted:
other trials have no adapter, and making one takes an engine, which no server has.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import signal
import sys
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from serve.errors import AdapterFailedError, TooSlowError
from serve.promotion import check_fits, promote, winner_of
from tuner.errors import ConfigError, Problem, StoreError, TunerError
from tuner.registry import AdapterName, Registry
from tuner.store.files import read_study

_END_S = 5.0  # seconds that an ended process gets to remove its half copy


@dataclass(frozen=True)
class Asked:
    """A promotion: of which study of which results folder, which trial (None: the winner), into which registry, under
    which name and alias, by whom."""

    registry: Path
    results: Path
    study: str
    trial: str | None
    name: AdapterName
    alias: str
    by: str


async def promote_apart(asked: Asked, seconds: float) -> str:
    """Promote in a new process; the version's name. Raises as `serve.promotion.promote`, StudyError for a study without
    a winner, TooSlowError after so many seconds, AdapterFailedError if the process ended. Whatever ends the wait ends
    the process; what it had copied goes with it."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(sender, asked, seconds), name="promotion", daemon=True)
    patience = 0.0
    try:
        try:
            await asyncio.to_thread(process.start)
        finally:
            sender.close()  # the other end is the process's alone: when it ends, so does the wait
        found = await _received(receiver, seconds)
        patience = _END_S  # it has said all, and ends by itself
    finally:
        receiver.close()
        if process.pid is not None:
            await asyncio.to_thread(_end, process, patience)
    if isinstance(found, TunerError):
        raise found
    return str(found)


async def _received(receiver: Connection, seconds: float) -> Any:
    loop = asyncio.get_running_loop()
    there = asyncio.Event()
    loop.add_reader(receiver.fileno(), there.set)
    try:
        async with asyncio.timeout(seconds):
            await there.wait()
        return receiver.recv()
    except TimeoutError as error:
        raise TooSlowError(seconds) from error
    except EOFError as error:
        message = "The process that loads the adapter ended without a word; there may be too little memory."
        raise AdapterFailedError(message) from error
    finally:
        loop.remove_reader(receiver.fileno())


def _end(process: Any, patience: float) -> None:
    process.join(patience)
    process.terminate()
    process.join(_END_S)
    if process.is_alive():
        process.kill()
        process.join()
    process.close()


def _work(sender: Connection, asked: Asked, seconds: float) -> None:
    """What runs in the process: sends the version's name, or the error."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the half copy is removed on the way out
    signal.setitimer(signal.ITIMER_REAL, seconds + 2 * _END_S)  # nobody ends it if the server is gone: the timer does
    found: str | TunerError
    try:
        found = _promote(asked)
    except TunerError as error:
        found = error
    except Exception as error:
        found = StoreError(f"the promotion failed with an unexpected {type(error).__name__}: {error}")
    sender.send(found)


def _promote(asked: Asked) -> str:
    study = asked.study
    if study in ("", ".", "..") or Path(study).name != study or "\0" in study:
        raise ConfigError(Problem("study", study, "a study's name is that of one folder, with no slash"))
    folder = asked.results / study
    if not _is_there(folder / "study.json"):
        raise ConfigError(Problem("study", study, "there is no such study among the server's results"))
    record = read_study(folder)
    check_fits(record, asked.name, asked.trial)
    source = winner_of(folder, record)
    if asked.trial not in (None, source.trial):
        rule = f"over HTTP the winner alone is promoted, {source.trial}: of other trials no adapter is kept"
        cure = "On the server `tuner promote STUDY --trial ID --as TASK/NAME` makes one."
        raise ConfigError(Problem("trial", asked.trial, rule, cure))
    return promote(Registry(asked.registry), record, source, asked.name, asked.alias, asked.by).version.version


def _is_there(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name longer than the disk takes
        return False
