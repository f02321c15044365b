"""The audit log: every admin action as a line of JSON that carries the hash of the line before it.

Who changes, removes or swaps a line breaks the chain, and `verify` finds where. Two things a chain in one file cannot
show: lines cut off at its end, and a file rewritten as a whole; keep the last hash elsewhere to see those. Knows
nothing of HTTP.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from tuner.errors import StoreError, TunerError

FILE = "audit.jsonl"

_START = "0" * 64  # what stands for the hash before the first line
_CHUNK = 4096
_LONGEST = 300


class Entry(BaseModel):
    """One action: when (ISO 8601, UTC), which key, what, on what, how it ended, for which request."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    time: str
    who: str
    action: str
    target: str
    outcome: str
    request_id: str
    previous: str
    hash: str


@dataclass(frozen=True)
class Verdict:
    """What `verify` found: the entries of the unbroken beginning; the number of the first broken line, from 1, and
    what is wrong with it, or None for a whole chain."""

    entries: tuple[Entry, ...]
    broken: int | None = None
    reason: str = ""


@dataclass
class Note:
    """How an action ended, as it will be written down; whoever acts may say more than "done"."""

    outcome: str = "done"


class AuditLog:
    """The log at a path. Several processes may append: each append holds the file's lock, and is on the disk when it
    returns."""

    def __init__(self, path: Path, now: Callable[[], float] = time.time) -> None:
        self._path = path
        self._now = now

    def append(self, who: str, action: str, target: str, outcome: str, request_id: str) -> Entry:
        """Add a line. Raises StoreError when the disk refuses, or the log's last line is damaged: nothing may be added
        to a broken chain, or its end would look whole."""
        given = {"who": who, "action": action, "target": target, "outcome": outcome, "request_id": request_id}
        fields = {name: _plain(value) for name, value in given.items()}
        with self._open() as handle:
            return self._append(handle, fields)

    def check(self) -> None:
        """Raises StoreError where `append` would: who is about to act learns before that it cannot be written down."""
        with self._open() as handle:
            self._last_hash(handle, os.fstat(handle).st_size)

    @contextmanager
    def noted(self, who: str, action: str, target: str, request_id: str = "") -> Iterator[Note]:
        """What is done within, written down with how it ended, by whatever error. Nothing is done that could not be
        written down. Raises StoreError."""
        self.check()
        note = Note()
        try:
            yield note
        except BaseException as error:
            self.append(who, action, target, ended(error), request_id)
            raise
        self.append(who, action, target, note.outcome, request_id)

    @contextmanager
    def _open(self) -> Iterator[int]:
        """The file, locked. Raises StoreError when the disk refuses, here or within."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o600)
            try:
                os.fchmod(handle, 0o600)
                fcntl.flock(handle, fcntl.LOCK_EX)
                yield handle
            finally:
                os.close(handle)
        except OSError as error:
            raise StoreError(f"the audit log {self._path} cannot be written: {error.strerror}.") from error

    def _append(self, handle: int, fields: dict[str, str]) -> Entry:
        size = os.fstat(handle).st_size
        previous = self._last_hash(handle, size)
        moment = datetime.fromtimestamp(self._now(), UTC).isoformat(timespec="milliseconds")
        content = {"time": moment, **fields, "previous": previous}
        entry = Entry(**content, hash=_hash(content))
        line = _canonical(entry.model_dump()) + b"\n"
        try:
            if os.write(handle, line) != len(line):
                raise OSError(0, "the disk took half a line")
            os.fsync(handle)
        except OSError:
            os.ftruncate(handle, size)
            raise
        return entry

    def _last_hash(self, handle: int, size: int) -> str:
        """What the next line follows. Raises StoreError for a last line that is damaged."""
        if not size:
            return _START
        last, reason = _read(_last_line(handle, size))
        if last is None:
            raise StoreError(
                f"the audit log {self._path} is damaged: its last line {reason}. Nothing is added to it. "
                "Keep it as evidence under another name; the next action begins a new one."
            )
        return last.hash


def ended(error: BaseException) -> str:
    """How an action ended that raised this: refused with a sentence, or failed."""
    return f"refused: {error}" if isinstance(error, TunerError) else f"failed: {type(error).__name__}"


def verify(path: Path) -> Verdict:
    """Read a whole log and check its chain. Raises StoreError if there is no log or it cannot be read."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise StoreError(f"the audit log {path} cannot be read: {error.strerror}.") from error
    entries: list[Entry] = []
    previous = _START
    *whole, rest = data.split(b"\n")
    for number, line in enumerate([*(line + b"\n" for line in whole), *([rest] if rest else [])], 1):
        entry, reason = _read(line)
        if entry is None:
            return Verdict(tuple(entries), number, reason)
        if entry.previous != previous:
            return Verdict(tuple(entries), number, "does not follow the line before it")
        entries.append(entry)
        previous = entry.hash
    return Verdict(tuple(entries))


def _read(line: bytes) -> tuple[Entry | None, str]:
    """A line's entry, or None and what is wrong with it. It must be, byte for byte, what `append` writes."""
    try:
        entry = Entry.model_validate_json(line)
    except ValidationError:
        return None, "is not an entry"
    content = entry.model_dump()
    if _canonical(content) + b"\n" != line:
        return None, "is not as it was written"
    if _hash({name: value for name, value in content.items() if name != "hash"}) != entry.hash:
        return None, "does not match its hash"
    return entry, ""


def _last_line(handle: int, size: int) -> bytes:
    """The bytes after the last line break but one."""
    tail = b""
    while len(tail) < size and b"\n" not in tail[:-1]:
        start = max(0, size - len(tail) - _CHUNK)
        tail = os.pread(handle, size - len(tail) - start, start) + tail
    return tail[tail.rfind(b"\n", 0, len(tail) - 1) + 1 :]


def _plain(value: str) -> str:
    """A value as JSON can hold it, half surrogates replaced, and no longer than a line should be."""
    return value[:_LONGEST].encode("utf-8", "replace").decode("utf-8")


def _canonical(content: dict[str, Any]) -> bytes:
    return json.dumps(content, sort_keys=True, separators=(",", ":")).encode("ascii")


def _hash(content: dict[str, Any]) -> str:
    return sha256(_canonical(content)).hexdigest()
