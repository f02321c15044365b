"""The manifest of a version: every file with its SHA-256, and where the adapter comes from. Its own SHA-256 is the
version's address.

The same adapter of the same origin gives the same bytes on every machine: keys sorted, ASCII alone, no time of day.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from tuner.errors import StoreError
from tuner.registry.names import VERSION_LENGTH, AdapterName
from tuner.store.files import finite

FORMAT = 1


@dataclass(frozen=True)
class Origin:
    """Where an adapter comes from: its base with the revision and the checksum that are known of it, the validation
    metrics of the study, the trial's hyperparameters, the space they were chosen from, the version of this project."""

    base_model: str
    revision: str | None = None
    base_checksum: str = ""
    metrics: Mapping[str, float | None] = field(default_factory=dict)
    study: str = ""
    trial: str = ""
    params: Mapping[str, Any] = field(default_factory=dict)
    space: Mapping[str, Any] = field(default_factory=dict)
    project_version: str = ""


@dataclass(frozen=True)
class FileEntry:
    """A file of a version: its path in the folder, its size in bytes, its SHA-256."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What a version is made of and where it comes from."""

    name: AdapterName
    origin: Origin
    files: tuple[FileEntry, ...]

    def to_bytes(self) -> bytes:
        """The content of manifest.json. What JSON cannot say, NaN, is null."""
        data = {
            "format": FORMAT,
            "task": self.name.task,
            "name": self.name.name,
            **{each.name: getattr(self.origin, each.name) for each in fields(Origin)},
            "files": [vars(each) for each in sorted(self.files, key=lambda each: each.path)],
        }
        return (json.dumps(finite(data), indent=1, sort_keys=True, allow_nan=False) + "\n").encode("ascii")

    @classmethod
    def from_bytes(cls, data: bytes) -> Manifest:
        """The inverse. Raises StoreError if the bytes are no manifest."""
        try:
            found = json.loads(data)
            if found.pop("format") != FORMAT:
                raise ValueError("its format is unknown")
            name = AdapterName(found.pop("task"), found.pop("name"))
            files = tuple(FileEntry(**each) for each in found.pop("files"))
            return cls(name, Origin(**found), files)
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            raise StoreError(f"a manifest cannot be read: {error}.") from error

    @property
    def digest(self) -> str:
        """The SHA-256 that addresses it."""
        return digest_of(self.to_bytes())


def digest_of(data: bytes) -> str:
    """64 hex digits."""
    return hashlib.sha256(data).hexdigest()


@dataclass(frozen=True)
class Version:
    """A published version. `digest` is the whole SHA-256 of its manifest."""

    manifest: Manifest
    digest: str

    @property
    def name(self) -> AdapterName:
        """Whose version it is."""
        return self.manifest.name

    @property
    def version(self) -> str:
        """The 12 hex digits that name it."""
        return self.digest[:VERSION_LENGTH]

    def __str__(self) -> str:
        return f"{self.name}@{self.version}"
