"""What must hold before a study starts: its name is free, its folder can be written, nobody else writes there."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from tuner.config import StudyConfig
from tuner.errors import StoreError, StudyError
from tuner.study.folder import StudyFolder

_NEEDED_MB = 200


def study_name(config: StudyConfig, now: float) -> str:
    """The config's name, or task-base-YYYYMMDD-HHMMSS."""
    if config.name:
        return config.name
    base = re.sub(r"[^\w.-]+", "-", Path(config.base_model).name)[:40].strip("-.") or "base"
    return f"{config.task}-{base}-{time.strftime('%Y%m%d-%H%M%S', time.localtime(now))}"


@contextlib.contextmanager
def reserved(folder: StudyFolder, resume: bool) -> Iterator[None]:
    """Within this context the folder is this process's. A new study that leaves no record leaves no folder either.

    Raises StudyError for a name that is taken or a study that runs elsewhere, StoreError for a disk that refuses."""
    path = folder.path
    if not resume and (path.exists() or path.is_symlink()):
        raise StudyError(
            f"study {path.name!r} exists already in {path.parent}. Go on with it with --resume {path.name}, "
            "or choose another --name."
        )
    made = not path.exists()
    _check_disk(path)
    try:
        with _locked(path):
            yield
    finally:
        if made and not (path / "study.json").exists():
            shutil.rmtree(path, ignore_errors=True)


def _check_disk(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = path / ".probe"
        probe.write_bytes(b"x")
        probe.unlink()
        free = shutil.disk_usage(path).free // 2**20
    except OSError as error:
        raise StoreError(
            f"results = {str(path.parent)!r}: cannot write there: {error.strerror or error}. Choose another --results."
        ) from error
    if free < _NEEDED_MB:
        raise StoreError(
            f"results = {str(path.parent)!r}: {free} MB are free and a study needs {_NEEDED_MB}. Free space or choose "
            "another --results."
        )


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    try:
        import fcntl
    except ImportError:  # Windows, where Ray's support is experimental as well
        yield
        return
    handle = os.open(path / ".lock", os.O_CREAT | os.O_RDWR, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StudyError(f"study {path.name!r} is running in another process. Wait for it, or stop it.") from error
        yield
    finally:
        os.close(handle)
