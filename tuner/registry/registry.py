"""The registry of promoted adapters: a folder that one writes and many read.

    <registry>/state.json                               names, versions, aliases and their history; replaced in one step
               versions/<task>/<name>/<version>/        an adapter's files and manifest.json, never changed
                                      .new-*  .old-*    a copy on its way in or out
               .lock                                    held by whoever changes state.json

A reader takes no lock: it sees the state before a change or after it. A folder is there before the state names it and
goes after the state has forgotten it, so a crash leaves at most a folder that nothing names; the next promotion removes
those older than an hour. The lock is `flock`: it holds between processes of one machine and on network disks that pass
it on (NFS 4, most parallel file systems), not on those that do not (NFS 3 without a lock daemon, FUSE mounts of object
stores); there, let one machine write. Knows no task: what loads an adapter is passed in.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from tuner.errors import ConfigError, StoreError
from tuner.registry.changes import with_alias, with_rollback, with_version, without_alias, without_version
from tuner.registry.checks import Allowance, check_folder, check_source
from tuner.registry.copying import copy_files, read_manifest, verify_folder, write_manifest
from tuner.registry.manifest import Manifest, Origin, Version
from tuner.registry.names import AdapterName, checked_alias
from tuner.registry.state import Entry, RegistryState
from tuner.registry.state_json import state_from_json, state_to_json
from tuner.registry.target import Limits, Target, check_words
from tuner.registry.tree import sync_folder
from tuner.store.files import write_text

LEFT_OVER = 3600.0
"""Seconds after which a folder that no state names is taken for what a crash left: no promotion takes that long."""

Stamp = tuple[int, int, int]


class Registry:
    """A registry in a folder, which the first promotion makes. Every method that changes it says who does (`by`), and
    raises StoreError when the disk refuses, ConfigError for names that do not exist."""

    def __init__(self, folder: Path, allowance: Allowance | None = None) -> None:
        self.path = folder
        self._allowance = allowance or Allowance()
        self._state = folder / "state.json"
        self._versions = folder / "versions"

    def stamp(self) -> Stamp | None:
        """A token that differs whenever the state does, at the price of one `stat`; None where there is no state.
        Take it before `state()`: what changes between the two then shows at the next look. Raises StoreError."""
        try:
            found = self._state.stat()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreError(f"{self._state} cannot be read: {error.strerror}.") from error
        return found.st_ino, found.st_mtime_ns, found.st_size

    def state(self) -> RegistryState:
        """All names, versions and aliases at one moment; none where there is no registry yet. Raises StoreError if it
        is damaged."""
        try:
            return state_from_json(json.loads(self._state.read_bytes()))
        except FileNotFoundError:
            return RegistryState()
        except OSError as error:
            raise StoreError(f"{self._state} cannot be read: {error.strerror}.") from error
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError, ConfigError) as error:
            raise StoreError(
                f"{self._state} is damaged: {error}. Bring it back from a copy, or move the folder away, then promote."
            ) from error

    def version(self, name: AdapterName, version: str) -> Version:
        """A version with its manifest. Raises ConfigError if it is unknown, StoreError if its folder is missing or
        its manifest damaged."""
        return self.published(self.state().adapter(name).entry(version))

    def published(self, entry: Entry) -> Version:
        """As `version`, of an entry that is known: the state is not read again. Raises StoreError."""
        return Version(read_manifest(self.folder(entry), entry.digest), entry.digest)

    def folder(self, version: Version | Entry) -> Path:
        """Where a version's files lie. It is not looked at: `verify` says whether they are whole."""
        return self._versions / version.name.task / version.name.name / version.version

    def verify(self, version: Version | Entry) -> Version:
        """The version, every file compared with the manifest and the manifest with its address. Raises StoreError that
        names the first file that differs, is missing, is a link or is too many."""
        return Version(verify_folder(self.folder(version), version.digest), version.digest)

    def promote(
        self,
        source: Path,
        name: AdapterName,
        *,
        origin: Origin,
        alias: str | None,
        check: Callable[[Path], None],
        by: str,
    ) -> Version:
        """Publish the adapter in the folder `source`, and let an alias point to it alone. `check` gets the copy and
        refuses it by raising a TunerError, which passes through. Promoting the same again gives the same version, and
        mends its files if they are damaged. Raises DataError with all that is wrong with the files."""
        check_words(by=by)
        if alias is not None:
            checked_alias(alias)
        paths = check_source(source, self._allowance)
        with self._errors(), self._new_folder(name) as fresh:
            files = copy_files(source, paths, fresh, self._allowance.total_bytes)
            check_folder(fresh, self._allowance)  # what was copied may not be what was looked at
            manifest = Manifest(name, origin, files)
            write_manifest(fresh, manifest)
            check(fresh)
            version = Version(verify_folder(fresh, manifest.digest), manifest.digest)
            self._publish(fresh, version, alias, by)
        return version

    def set_alias(
        self,
        name: AdapterName,
        alias: str,
        split: Mapping[str, float],
        *,
        shadow: str | None = None,
        limits: Limits | None = None,
        instead_of: Target | None = None,
        by: str,
        why: str = "",
    ) -> RegistryState:
        """Let an alias point to versions by weight; the weights may have any sum. Where it does so already, nothing
        changes, nor where `instead_of` is given and the alias no longer points to that. Gives the state after it."""
        check_words(by=by, why=why)
        target = Target.of(split, shadow, limits)

        def change(state: RegistryState) -> RegistryState:
            stands = state.adapter(name).alias(alias)
            if instead_of is not None and (stands is None or stands.target != instead_of):
                return state
            return with_alias(state, name, alias, target, time.time(), by, why)

        return self._change(change)

    def rollback(self, name: AdapterName, alias: str, *, by: str, why: str = "") -> RegistryState:
        """Let an alias point to what it pointed to before; again goes back further. Raises ConfigError if there is
        nothing before."""
        check_words(by=by, why=why)
        return self._change(lambda state: with_rollback(state, name, alias, time.time(), by, why))

    def remove_alias(self, name: AdapterName, alias: str, *, by: str, why: str = "") -> RegistryState:
        """Remove an alias; `rollback` brings it back."""
        check_words(by=by, why=why)
        return self._change(lambda state: without_alias(state, name, alias, time.time(), by, why))

    def delete(self, name: AdapterName, version: str, *, by: str) -> RegistryState:
        """Delete a version and its files. Raises ConfigError, naming the aliases, while any needs it."""
        check_words(by=by)
        with self._errors(), self._locked():
            before = self.state()
            after = self._write(before, without_version(before, name, version))
            old = self._aside(self.folder(before.adapter(name).entry(version)))
        if old is not None:
            shutil.rmtree(old, ignore_errors=True)
        return after

    def _change(self, change: Callable[[RegistryState], RegistryState]) -> RegistryState:
        with self._errors(), self._locked():
            before = self.state()
            return self._write(before, change(before))

    def _write(self, before: RegistryState, after: RegistryState) -> RegistryState:
        if after is before:
            return before
        after = replace(after, generation=before.generation + 1)
        write_text(self._state, json.dumps(state_to_json(after)) + "\n")
        sync_folder(self.path)
        return after

    def _publish(self, fresh: Path, version: Version, alias: str | None, by: str) -> None:
        place = self.folder(version)
        intact = self._is_intact(version)  # before the lock: it reads every byte
        old = None
        with self._locked():
            before = self.state()
            entry = Entry(version.name, version.version, version.digest, time.time(), by)
            after = with_version(before, entry)
            if alias is not None:
                target = Target.of({version.version: 1.0})
                after = with_alias(after, version.name, alias, target, entry.created, by, "promoted")
            # looked at again, for another may have published it since; what stands whole is not moved under its readers
            if not (place.exists() and (intact or self._is_intact(version))):
                old = self._aside(place)
                os.replace(fresh, place)
                sync_folder(place.parent)
            self._write(before, after)
            self._sweep(after)
        if old is not None:
            shutil.rmtree(old, ignore_errors=True)

    def _is_intact(self, version: Version) -> bool:
        try:
            self.verify(version)
        except StoreError:
            return False
        return True

    def _aside(self, place: Path) -> Path | None:
        """Rename a folder to where nobody looks for it; None where there is none."""
        if not place.exists():
            return None
        hidden = Path(tempfile.mkdtemp(prefix=f".old-{place.name}-", dir=place.parent))
        os.replace(place, hidden)
        return hidden

    @contextmanager
    def _new_folder(self, name: AdapterName) -> Iterator[Path]:
        """An empty folder beside the versions of a name, gone at the end unless it was renamed."""
        parent = self._versions / name.task / name.name
        parent.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(prefix=".new-", dir=parent))
        try:
            yield fresh
        finally:
            shutil.rmtree(fresh, ignore_errors=True)

    def _sweep(self, state: RegistryState) -> None:
        """Remove what crashes left: folders that the state does not name, older than an hour. Needs the lock."""
        kept = {(name.task, name.name): adapter.versions for name, adapter in state.adapters.items()}
        for folder in self._versions.glob("*/*"):
            known = kept.get((folder.parent.name, folder.name), {})
            for left in sorted(set(os.listdir(folder)) - known.keys()):
                with suppress(OSError):
                    if time.time() - (folder / left).lstat().st_mtime > LEFT_OVER:
                        shutil.rmtree(folder / left)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Alone among writers; waits for the one before. The lock goes with the process that holds it."""
        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / ".lock").open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StoreError(f"the registry in {self.path} cannot be changed: {error}.") from error
