"""A folder of ours that takes the place of an older one. What somebody else put there is never deleted.

Knows a folder of ours by a marker file. Imports no torch.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from tuner.errors import StoreError


@contextlib.contextmanager
def replaced(folder: Path, marker: str) -> Iterator[Path]:
    """A folder to fill, the file `marker` first, which then takes the place of `folder`: a reader finds it whole or not
    at all. Raises StoreError before anything is written where a folder without `marker` is in the way, and when the
    disk refuses."""
    fresh = folder.with_name(f".{folder.name}.new")
    for each in (folder, fresh):
        _check(each, marker)
    try:
        _remove(fresh)
        yield fresh
        _remove(folder)
        fresh.rename(folder)
    except (OSError, shutil.Error) as error:
        raise StoreError(f"cannot write {folder}: {getattr(error, 'strerror', None) or error}.") from error


def _check(folder: Path, marker: str) -> None:
    try:
        ours = not _there(folder) or (folder.is_dir() and not folder.is_symlink() and _is_ours(folder, marker))
    except OSError as error:
        raise StoreError(f"cannot read {folder}: {error.strerror or error}.") from error
    if not ours:
        raise StoreError(
            f"{folder} is in the way and was not written by a pipeline. Move it, or choose another --name."
        )


def _is_ours(folder: Path, marker: str) -> bool:
    return (folder / marker).is_file() or not any(folder.iterdir())


def _remove(folder: Path) -> None:
    if _there(folder):
        shutil.rmtree(folder)


def _there(folder: Path) -> bool:
    return folder.exists() or folder.is_symlink()
