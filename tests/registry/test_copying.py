"""Copies are hashed as they are written, read-only, and compared with their manifest later."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.registry.toys import NAME, make_adapter
from tuner.errors import StoreError
from tuner.registry import Manifest, Origin
from tuner.registry.copying import copy_files, read_manifest, verify_folder, write_manifest

PATHS = ["adapter_config.json", "adapter_model.safetensors", "part/merges.txt"]


@pytest.fixture
def version(tmp_path: Path) -> tuple[Path, Manifest]:
    """A copied version and its manifest."""
    source, target = make_adapter(tmp_path / "source"), tmp_path / "target"
    target.mkdir()
    manifest = Manifest(NAME, Origin("toy"), copy_files(source, PATHS, target, 1000))
    write_manifest(target, manifest)
    return target, manifest


def test_a_copy_is_whole_and_read_only(version: tuple[Path, Manifest], tmp_path: Path) -> None:
    folder, manifest = version
    assert verify_folder(folder, manifest.digest) == manifest
    for entry in manifest.files:
        data = (folder / entry.path).read_bytes()
        assert data == (tmp_path / "source" / entry.path).read_bytes()
        assert (entry.size, entry.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert {path.stat().st_mode & 0o777 for path in files} == {0o444}
    assert {path.stat().st_mode & 0o777 for path in (folder, folder / "part")} == {0o755}


def test_a_link_that_took_a_files_place_is_not_copied(tmp_path: Path) -> None:
    source = make_adapter(tmp_path / "source")
    (tmp_path / "secret").write_text("secret")
    (source / "adapter_config.json").unlink()
    (source / "adapter_config.json").symlink_to(tmp_path / "secret")
    (tmp_path / "target").mkdir()
    with pytest.raises(OSError, match=r"adapter_config.json"):
        copy_files(source, PATHS, tmp_path / "target", 1000)
    assert list((tmp_path / "target").iterdir()) == []


def test_a_file_that_grows_is_not_copied(tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    with pytest.raises(StoreError, match="grows while it is copied"):
        copy_files(make_adapter(tmp_path / "source"), PATHS, tmp_path / "target", 40)


def replaced(path: Path, data: bytes) -> None:
    path.chmod(0o644)
    path.write_bytes(data)


def linked(path: Path) -> None:
    aside = path.rename(path.parents[1] / "aside")
    path.symlink_to(aside)


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "a bit": (
        lambda f: replaced(f / "adapter_model.safetensors", b"x" * (f / "adapter_model.safetensors").stat().st_size),
        "adapter_model.safetensors is not what it was",
    ),
    "shorter": (lambda f: replaced(f / "adapter_config.json", b"{}"), "adapter_config.json is not what it was"),
    "missing": (lambda f: (f / "part" / "merges.txt").unlink(), "part/merges.txt is missing"),
    "extra": (lambda f: (f / "run.py").touch(), "run.py does not belong there"),
    "extra hidden": (lambda f: (f / "part" / ".x").touch(), "part/.x does not belong there"),
    "extra folder": (lambda f: (f / "more").mkdir(), "more does not belong there"),
    "link to a file": (lambda f: linked(f / "adapter_config.json"), "adapter_config.json is a symbolic link"),
    "link to a folder": (lambda f: linked(f / "part"), "part is a symbolic link"),
    "pipe": (
        lambda f: ((f / "adapter_config.json").unlink(), os.mkfifo(f / "adapter_config.json")),
        "adapter_config.json is a pipe",
    ),
    "manifest": (lambda f: replaced(f / "manifest.json", b"{}"), "manifest.json is not what it was"),
    "no manifest": (lambda f: (f / "manifest.json").unlink(), "manifest.json cannot be read"),
    "no folder": (lambda f: f.rename(f.parent / "away"), "manifest.json cannot be read"),
    "the folder a link": (linked, "manifest.json cannot be read"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_named(version: tuple[Path, Manifest], damage: str) -> None:
    folder, manifest = version
    change, message = DAMAGE[damage]
    change(folder)
    with pytest.raises(StoreError, match=message):
        verify_folder(folder, manifest.digest)


def test_a_manifest_is_read_alone(version: tuple[Path, Manifest]) -> None:
    folder, manifest = version
    (folder / "adapter_config.json").unlink()
    assert read_manifest(folder, manifest.digest) == manifest
    with pytest.raises(StoreError, match="its SHA-256 differs"):
        read_manifest(folder, "0" * 64)
