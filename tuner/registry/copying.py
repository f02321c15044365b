"""Files of a version: copied and hashed in one reading, and compared with their manifest later.

The SHA-256 is of the bytes that were written, whatever happens to the source meanwhile.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from tuner.errors import StoreError
from tuner.registry.checks import MANIFEST
from tuner.registry.manifest import FileEntry, Manifest, digest_of
from tuner.registry.tree import FILE, FOLDER, entries, opened, opened_file, sync_folder

_CHUNK = 2**20
_DEPTH = 16  # folders inside a version; the most that are promoted lie less deep
_MANIFEST_BYTES = 2**24  # a search space and some metrics; more is no manifest


def copy_files(source: Path, paths: Iterable[str], target: Path, most_bytes: int) -> tuple[FileEntry, ...]:
    """Copy files into the empty folder `target`, read-only and synced. Raises OSError, StoreError if the files have
    grown beyond `most_bytes` since they were checked."""
    copied, total = [], 0
    with opened(source) as root:
        for path in paths:
            place = target / path
            place.parent.mkdir(parents=True, exist_ok=True)
            entry = _copy(root, path, place, most_bytes - total)
            total += entry.size
            copied.append(entry)
    return tuple(copied)


def _copy(root: int, path: str, place: Path, most: int) -> FileEntry:
    digest, size = hashlib.sha256(), 0
    with opened_file(root, path) as file, place.open("xb") as out:
        while chunk := file.read(_CHUNK):
            size += len(chunk)
            if size > most:
                raise StoreError(f"{path} grows while it is copied: {most} bytes were allowed. Nothing was promoted.")
            digest.update(chunk)
            out.write(chunk)
        _finish(out)
    return FileEntry(path, size, digest.hexdigest())


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write it read-only, and sync every folder of the version. Raises OSError."""
    with (folder / MANIFEST).open("xb") as out:
        out.write(manifest.to_bytes())
        _finish(out)
    for path in [*folder.rglob("*"), folder]:
        if path.is_dir():
            path.chmod(0o755)
            sync_folder(path)


def _finish(out: BinaryIO) -> None:
    out.flush()
    os.fchmod(out.fileno(), 0o444)
    os.fsync(out.fileno())


def read_manifest(folder: Path, digest: str) -> Manifest:
    """The manifest in a version's folder. Raises StoreError if it is not there or is not the one of that SHA-256."""
    try:
        with opened(folder) as root, opened_file(root, MANIFEST) as file:
            data = file.read(_MANIFEST_BYTES)
    except OSError as error:
        raise _damaged(folder, f"{MANIFEST} cannot be read ({error.strerror or error})") from error
    if digest_of(data) != digest:
        raise _damaged(folder, f"{MANIFEST} is not what it was: its SHA-256 differs")
    return Manifest.from_bytes(data)


def verify_folder(folder: Path, digest: str) -> Manifest:
    """Compare every file with the manifest, and it with its address. Raises StoreError that names the file: one that
    differs, is missing, is a link, or is too many."""
    manifest = read_manifest(folder, digest)
    expected = {entry.path: entry for entry in manifest.files}
    parents = {str(parent) for path in expected for parent in PurePosixPath(path).parents}
    try:
        with opened(folder) as root:
            found = {each.path: each for each in entries(root, _DEPTH)}
            for path, each in found.items():
                if path not in (*parents, *expected, MANIFEST):
                    raise _damaged(folder, f"{path} does not belong there")
                if each.kind != (FOLDER if path in parents else FILE):
                    raise _damaged(folder, f"{path} is a {each.kind}")
            for path, entry in expected.items():
                if path not in found:
                    raise _damaged(folder, f"{path} is missing")
                with opened_file(root, path) as file:
                    sha256 = hashlib.file_digest(file, "sha256").hexdigest()
                if (found[path].size, sha256) != (entry.size, entry.sha256):
                    raise _damaged(folder, f"{path} is not what it was: its size or SHA-256 differs")
    except OSError as error:
        raise _damaged(folder, f"it cannot be read ({error})") from error
    return manifest


def _damaged(folder: Path, why: str) -> StoreError:
    return StoreError(f"the version in {folder} is damaged: {why}. Promote the same adapter again to mend it.")
