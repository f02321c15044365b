"""A folder's files without following a link: what lies in it, and each opened part by part.

Whoever may write into the folder can swap a folder for a link between two calls, so a path is never opened as a whole:
every part of it is opened inside the one before, and a link refuses to open.
"""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# A pipe that took a file's place would wait for a writer for ever without O_NONBLOCK.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

FILE, FOLDER, LINK, OTHER = "file", "folder", "symbolic link", "pipe, socket or device"


@dataclass(frozen=True)
class Found:
    """Something in a folder: its path from there with slashes, its kind, and a file's size in bytes."""

    path: str
    kind: str
    size: int = 0


@contextmanager
def opened(folder: Path) -> Iterator[int]:
    """A descriptor of a folder. Raises OSError if it is not there, is none, or is a link."""
    handle = os.open(folder, _FOLDER)
    try:
        yield handle
    finally:
        os.close(handle)


def entries(root: int, depth: int) -> Iterator[Found]:
    """Everything in an opened folder and in those inside it, down to `depth`; a deeper folder is named, not entered.
    Raises OSError."""
    yield from _entries(root, "", depth)


def _entries(handle: int, prefix: str, depth: int) -> Iterator[Found]:
    for name in sorted(os.listdir(handle)):
        about = os.stat(name, dir_fd=handle, follow_symlinks=False)
        path = prefix + name
        if stat.S_ISDIR(about.st_mode):
            yield Found(path, FOLDER)
            if depth > 0:
                inside = os.open(name, _FOLDER, dir_fd=handle)
                try:
                    yield from _entries(inside, f"{path}/", depth - 1)
                finally:
                    os.close(inside)
        elif stat.S_ISREG(about.st_mode):
            yield Found(path, FILE, about.st_size)
        else:
            yield Found(path, LINK if stat.S_ISLNK(about.st_mode) else OTHER)


@contextmanager
def opened_file(root: int, path: str) -> Iterator[io.BufferedReader]:
    """A regular file in an opened folder, for reading. Raises OSError if any part of its path is a link or it is no
    file."""
    *folders, name = path.split("/")
    handle = os.dup(root)
    try:
        for folder in folders:
            inside = os.open(folder, _FOLDER, dir_fd=handle)
            os.close(handle)
            handle = inside
        file = os.fdopen(os.open(name, _FILE, dir_fd=handle), "rb")
    finally:
        os.close(handle)
    with file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(f"{path} is no regular file")
        yield file


def sync_folder(folder: Path) -> None:
    """Make a folder's names survive a power cut. Raises OSError."""
    with opened(folder) as handle:
        os.fsync(handle)
