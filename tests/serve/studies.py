"""Finished studies of a toy base, as a server finds them among its results."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.cli.samples import finished, save
from tests.serve.toy import Adapters
from tuner.store.records import StudyRecord


def make_study(results: Path, adapters: Adapters, name: str = "first", number: int = 0) -> tuple[Path, StudyRecord]:
    """A study whose best adapter is one of these; its winner is the trial t002."""
    study = replace(finished(name), base_model=str(adapters.base), versions={"lora-tuner": "0.9"})
    folder = save(results, study, adapter=False)
    shutil.copytree(adapters.folders[number], folder / "best")
    return folder, study


def move_base(study: Path, base: Path) -> None:
    """Let a study's adapter say another base."""
    path = study / "best" / "tuner.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "base_model": str(base)}))


def endless_base(folder: Path) -> Path:
    """A base that takes for ever to read; the pipe in its place opens for writing once somebody reads it."""
    folder.mkdir()
    os.mkfifo(folder / "config.json")
    return folder / "config.json"


async def read_by(asking: asyncio.Task[Any], pipe: Path) -> int:
    """A handle to write to the pipe of an endless base, once the promotion that a task waits for reads it."""
    opening = asyncio.create_task(asyncio.to_thread(os.open, pipe, os.O_WRONLY))
    await asyncio.wait({opening, asking}, return_when=asyncio.FIRST_COMPLETED)
    if not opening.done():  # nobody will read: whoever waits to write is let go
        os.close(os.open(pipe, os.O_RDONLY | os.O_NONBLOCK))
        os.close(await opening)
        raise AssertionError(f"it ended before it read: {asking}")
    return opening.result()
