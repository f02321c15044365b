"""API keys: made, listed and revoked in a file, and looked up at every request.

A key is `lt_`, 16 hexadecimal digits of id and 64 of secret: 256 random bits. The file keeps the secret's SHA-256 only.
A slow hash protects passwords, which can be guessed; nobody guesses 256 random bits, and a fast hash costs a request
one microsecond. Knows nothing of HTTP.
"""

from __future__ import annotations

import contextlib
import fcntl
import hmac
import json
import logging
import os
import re
import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from difflib import get_close_matches
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tuner.errors import ConfigError, Problem, StoreError
from tuner.store.files import write_bytes

FILE = "keys.json"
PREFIX = "lt_"
Scope = Literal["read", "infer", "deploy", "admin"]
SCOPES: tuple[Scope, ...] = ("read", "infer", "deploy", "admin")
"""read: list models, see metrics; infer: ask adapters; deploy: promote, alias, weigh, roll back; admin: everything."""

_ID_BYTES, _SECRET_BYTES = 8, 32
_SECRET_AT = len(PREFIX) + 2 * _ID_BYTES
_LENGTH = _SECRET_AT + 2 * _SECRET_BYTES
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_DAY_S = 86_400.0
_LOOK_S = 0.2

log = logging.getLogger(__name__)


class ApiKey(BaseModel):
    """One key as the file keeps it. Times are seconds since the epoch, `rate` is requests a minute."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    id: Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
    name: Annotated[str, Field(pattern=rf"^{_NAME.pattern}$")]
    hash: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    scopes: frozenset[Scope]
    created: float
    expires: float | None = None
    rate: Annotated[int, Field(ge=1)] | None = None
    revoked: float | None = None

    def allows(self, scope: str) -> bool:
        """Whether the key may do what asks for this scope."""
        return scope in self.scopes or "admin" in self.scopes

    def state(self, now: float) -> Literal["valid", "expired", "revoked"]:
        """What the key is worth at a time."""
        if self.revoked is not None:
            return "revoked"
        return "expired" if self.expires is not None and self.expires <= now else "valid"


class _File(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    keys: tuple[ApiKey, ...] = ()


def split_key(text: str) -> tuple[str, str] | None:
    """(id, secret) of a key's text; None for what cannot be a key. Whether there is such a key is for `KeyRing`."""
    if len(text) != _LENGTH or not text.startswith(PREFIX) or not text.isascii():
        return None
    return text[len(PREFIX) : _SECRET_AT], text[_SECRET_AT:]


def read_keys(path: Path) -> tuple[ApiKey, ...]:
    """Every key of a file. Raises StoreError for a file that is not there, that others can read, or that is damaged."""
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            if mode & 0o077:
                raise StoreError(f"{path} can be read or written by others. Cure: chmod 600 {path}")
            keys = _File.model_validate_json(file.read()).keys
    except FileNotFoundError as error:
        raise StoreError(f"there are no API keys: {path} is missing. Make one: tuner keys create NAME") from error
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror}.") from error
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        cure = "Restore it, or remove it and make new keys."
        raise StoreError(f"{path} is damaged: {where}: {first['msg']}. {cure}") from error
    for field in ("id", "name"):
        values = [getattr(key, field) for key in keys]
        if len(set(values)) != len(values):
            raise StoreError(f"{path} is damaged: two keys have the same {field}. Remove one of them.")
    return keys


def create_key(
    path: Path, name: str, scopes: Iterable[str], now: float, days: int | None = None, rate: int | None = None
) -> tuple[ApiKey, str]:
    """Add a key to the file, which is made if it is missing; also the key's text, which nothing keeps.

    Raises ConfigError with every mistake at once, StoreError for a file that cannot be read or written."""
    wanted = tuple(scopes)
    with _locked(path):
        keys = read_keys(path) if path.exists() else ()
        problems = [
            Problem("scope", scope, "is not a scope", f"Use some of: {', '.join(SCOPES)}.")
            for scope in wanted
            if scope not in SCOPES
        ]
        if not wanted:
            problems.append(Problem("scopes", "", "a key needs a scope", f"Use some of: {', '.join(SCOPES)}."))
        if not _NAME.fullmatch(name):
            cure = "Use up to 64 letters, digits, dots, dashes and underscores, a letter or a digit first."
            problems.append(Problem("name", name, "is not a name for a key", cure))
        elif any(key.name == name for key in keys):
            # A revoked key keeps its name: the audit log knows keys by name.
            problems.append(Problem("name", name, "there is, or was, a key of that name", "Choose another."))
        problems += [
            Problem(option, value, "is less than 1", "Leave it out for none.")
            for option, value in (("days", days), ("rate", rate))
            if value is not None and value < 1
        ]
        if problems:
            raise ConfigError(problems)
        identity, secret = secrets.token_hex(_ID_BYTES), secrets.token_hex(_SECRET_BYTES)
        key = ApiKey(
            id=identity,
            name=name,
            hash=_hash(secret),
            scopes=frozenset(scope for scope in SCOPES if scope in wanted),
            created=now,
            expires=None if days is None else now + days * _DAY_S,
            rate=rate,
        )
        _write(path, (*keys, key))
    return key, PREFIX + identity + secret


def revoke_key(path: Path, name: str, now: float) -> ApiKey:
    """Revoke a key for good; one that is revoked already stays so. Raises ConfigError if there is no such key,
    StoreError for a file that cannot be read or written."""
    with _locked(path):
        keys = read_keys(path)
        found = next((key for key in keys if key.name == name), None)
        if found is None:
            near = get_close_matches(name, [key.name for key in keys], 1)
            cure = f"Did you mean {near[0]}?" if near else "`tuner keys list` shows those there are."
            raise ConfigError(Problem("name", name, "there is no key of that name", cure))
        if found.revoked is None:
            revoked = found.model_copy(update={"revoked": now})
            _write(path, tuple(revoked if key is found else key for key in keys))
            return revoked
    return found


class KeyRing:
    """The keys of a file, kept up to date: the file is looked at five times a second at most, and read when it changed.

    A file that is gone, damaged or open to others admits nobody until it is cured, as it lets no server start: it may
    have been a try to revoke a key. Raises StoreError, when made, for such a file."""

    def __init__(
        self, path: Path, clock: Callable[[], float] = time.monotonic, now: Callable[[], float] = time.time
    ) -> None:
        self._path = path
        self._clock = clock
        self.now = now
        self._seen = self._stat()
        self._keys = {key.id: key for key in read_keys(path)}
        self._broken: str | None = None
        self._look_at = clock() + _LOOK_S

    def find(self, text: str) -> ApiKey | None:
        """The key with this text, whether it is still valid or not; None if there is none. Raises StoreError while the
        file cannot be used."""
        now = self._clock()
        if now >= self._look_at:
            self._look_at = now + _LOOK_S
            self._look()
        if self._broken is not None:
            raise StoreError(self._broken)
        parts = split_key(text)
        key = None if parts is None else self._keys.get(parts[0])
        if parts is None or key is None or not hmac.compare_digest(_hash(parts[1]), key.hash):
            return None
        return key

    def _look(self) -> None:
        seen = self._stat()
        if seen == self._seen:
            return
        self._seen = seen
        try:
            self._keys = {key.id: key for key in read_keys(self._path)}
            self._broken = None
        except StoreError as error:
            self._broken = str(error)
            log.error("nobody is admitted: %s", error)

    def _stat(self) -> tuple[int, ...] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_mode


def _hash(secret: str) -> str:
    return sha256(secret.encode("ascii")).hexdigest()


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    # The keys file itself cannot carry the lock: it is replaced at each change.
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path.with_name(f".{path.name}.lock"), os.O_CREAT | os.O_RDWR, 0o600)
    except OSError as error:
        raise StoreError(f"cannot write in {path.parent}: {error.strerror}.") from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _write(path: Path, keys: tuple[ApiKey, ...]) -> None:
    data = json.dumps(_File(keys=keys).model_dump(mode="json"), indent=1).encode("ascii") + b"\n"
    write_bytes(path, data, 0o600)
