"""A manifest is the same bytes for the same adapter, reads back, and its address changes with anything in it."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.registry.toys import NAME
from tuner.errors import StoreError
from tuner.registry import AdapterName, FileEntry, Manifest, Origin

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(st.text(), inside, max_size=3),
    max_leaves=5,
)
TABLES = st.dictionaries(st.text(), VALUES, max_size=4)
ORIGINS = st.builds(
    Origin,
    base_model=st.text(),
    revision=st.none() | st.text(),
    base_checksum=st.text(),
    metrics=st.dictionaries(st.text(), st.floats(allow_nan=False, allow_infinity=False), max_size=3),
    study=st.text(),
    trial=st.text(),
    params=TABLES,
    space=TABLES,
    project_version=st.text(),
)
FILES = st.lists(st.builds(FileEntry, st.text(), st.integers(0, 2**50), st.text()), unique_by=lambda file: file.path)


@settings(deadline=None)
@given(ORIGINS, FILES)
def test_it_reads_back(origin: Origin, files: list[FileEntry]) -> None:
    manifest = Manifest(NAME, origin, tuple(sorted(files, key=lambda file: file.path)))
    read = Manifest.from_bytes(manifest.to_bytes())
    assert read == manifest
    assert read.digest == manifest.digest
    assert Manifest(NAME, origin, tuple(reversed(manifest.files))).digest == manifest.digest


def test_the_address_depends_on_all_of_it() -> None:
    origin = Origin("minilm", None, "1", {"score": 0.5}, "s", "t", {"rank": 8}, {"rank": {}}, "0.1")
    manifest = Manifest(NAME, origin, (FileEntry("a.json", 1, "0"),))
    changes = {
        "base_model": "other",
        "revision": "main",
        "base_checksum": "2",
        "metrics": {},
        "study": "",
        "trial": "",
        "params": {},
        "space": {},
        "project_version": "",
    }
    others = [replace(manifest, origin=replace(origin, **{key: value})) for key, value in changes.items()]  # type: ignore[arg-type]
    others += [replace(manifest, name=AdapterName("sentiment", "other")), replace(manifest, files=())]
    others += [replace(manifest, files=(FileEntry("a.json", 1, "1"),))]
    assert len({each.digest for each in (manifest, *others)}) == len(others) + 1


def test_what_json_cannot_say_is_null() -> None:
    manifest = Manifest(NAME, Origin("minilm", metrics={"loss": float("nan")}), ())
    assert json.loads(manifest.to_bytes())["metrics"] == {"loss": None}
    assert manifest.to_bytes().isascii()


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b"\xff", b'{"format": 2}', b"[" * 100_000])
def test_what_is_no_manifest(data: bytes) -> None:
    with pytest.raises(StoreError, match="a manifest cannot be read"):
        Manifest.from_bytes(data)
