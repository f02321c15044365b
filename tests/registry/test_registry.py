"""The registry as a folder: what is promoted is there whole, and what is refused leaves nothing."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.registry.toys import BY, NAME, TENSORS, fine, left_over, make_adapter, promote, several
from tuner.errors import BaseModelError, ConfigError, DataError, StoreError
from tuner.registry import AdapterName, Alias, Limits, Origin, Reference, Registry, RegistryState, Target
from tuner.registry.registry import LEFT_OVER


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "registry")


def at(registry: Registry, alias: str = "champion") -> Target | None:
    found = registry.state().adapter(NAME).alias(alias)
    return found.target if found else None


def test_without_a_folder_it_is_empty(registry: Registry) -> None:
    assert registry.stamp() is None
    assert registry.state() == RegistryState()
    assert not registry.path.exists(), "a reader makes nothing"


def test_a_promoted_adapter_is_there(registry: Registry, tmp_path: Path) -> None:
    source = make_adapter(tmp_path / "source")
    origin = Origin("minilm", "main", "abc", {"score": 0.5}, "study", "t1", {"rank": 8}, {"rank": {}}, "0.1")
    version = registry.promote(source, NAME, origin=origin, alias="champion", check=fine, by="cli:ada")
    assert version.manifest.origin == origin
    assert [entry.path for entry in version.manifest.files] == sorted(
        str(path.relative_to(source)) for path in source.rglob("*") if path.is_file()
    )
    folder = registry.folder(version)
    assert folder == registry.path / "versions" / "sentiment" / "reviews" / version.digest[:12]
    assert (folder / "adapter_model.safetensors").read_bytes() == TENSORS
    registry.verify(version)
    assert registry.version(NAME, version.version) == version
    found = registry.state().find("sentiment", Reference.parse("reviews"))
    assert isinstance(found, Alias)
    assert (found.target, found.by, found.why) == (Target.of({version.version: 1}), "cli:ada", "promoted")
    assert left_over(registry) == []


def test_the_same_adapter_is_the_same_version(registry: Registry, tmp_path: Path) -> None:
    source = make_adapter(tmp_path / "source")
    first = promote(registry, source)
    state, inode = registry.state(), registry.folder(first).stat().st_ino
    assert promote(registry, source) == first
    assert registry.state() == state
    assert registry.folder(first).stat().st_ino == inode
    assert left_over(registry) == []
    elsewhere = Registry(tmp_path / "elsewhere")
    assert promote(elsewhere, source).digest == first.digest, "no time of day is in the address"


def test_another_name_or_alias(registry: Registry, tmp_path: Path) -> None:
    source = make_adapter(tmp_path / "source")
    first = promote(registry, source, alias=None)
    assert at(registry) is None
    promote(registry, source, alias="canary")
    assert at(registry, "canary") == Target.of({first.version: 1})
    other = promote(registry, source, name=AdapterName("sentiment", "shoes"))
    assert other.digest != first.digest
    assert [str(name) for name in registry.state().adapters] == ["sentiment/reviews", "sentiment/shoes"]


@pytest.mark.parametrize("error", [StoreError("it gave nothing"), BaseModelError("no base"), RuntimeError("shape")])
def test_a_dead_canary_refuses(registry: Registry, tmp_path: Path, error: Exception) -> None:
    old = promote(registry, make_adapter(tmp_path / "old"))
    state = registry.state()
    seen = []

    def dead(folder: Path) -> None:
        seen.append(sorted(path.name for path in folder.iterdir()))
        raise error

    with pytest.raises(type(error), match=str(error)):
        registry.promote(
            make_adapter(tmp_path / "new", 1), NAME, origin=Origin("toy"), alias="champion", check=dead, by=BY
        )
    assert seen == [["adapter_config.json", "adapter_model.safetensors", "manifest.json", "part"]]
    assert registry.state() == state
    assert os.listdir(registry.folder(old).parent) == [old.version]


def test_a_canary_that_writes_is_found_out(registry: Registry, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"cache.json does not belong there"):
        registry.promote(
            make_adapter(tmp_path / "source"),
            NAME,
            origin=Origin("toy"),
            alias=None,
            check=lambda folder: (folder / "cache.json").touch(),
            by=BY,
        )
    assert registry.state() == RegistryState()


def test_bad_files_are_refused_before_anything_is_made(registry: Registry, tmp_path: Path) -> None:
    source = make_adapter(tmp_path / "source")
    (source / "weights.bin").touch()
    with pytest.raises(DataError, match="could run code"):
        promote(registry, source)
    with pytest.raises(ConfigError, match="12 hex digits"):
        promote(registry, make_adapter(tmp_path / "other"), "0" * 12)
    assert not registry.path.exists()


def test_a_source_that_changes_under_the_copy_is_refused(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The content is checked again where nobody else can change it."""
    source = make_adapter(tmp_path / "source")
    from tuner.registry import registry as module

    copy = module.copy_files

    def swapped(*arguments: object) -> object:
        (source / "adapter_model.safetensors").write_bytes(TENSORS[:-1])
        return copy(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "copy_files", swapped)
    with pytest.raises(DataError, match="and the file holds 31"):
        promote(registry, source)
    assert left_over(registry) == []


def test_promoting_again_mends_what_is_damaged_or_gone(registry: Registry, tmp_path: Path) -> None:
    source = make_adapter(tmp_path / "source")
    version = promote(registry, source)
    state = registry.state()
    folder = registry.folder(version)
    (folder / "adapter_config.json").unlink()
    with pytest.raises(StoreError, match=r"adapter_config.json is missing. Promote the same adapter again"):
        registry.verify(version)
    assert promote(registry, source) == version
    registry.verify(version)
    shutil.rmtree(folder)
    with pytest.raises(StoreError, match=r"manifest.json cannot be read"):
        registry.version(NAME, version.version)
    promote(registry, source)
    registry.verify(version)
    assert registry.state() == state
    assert left_over(registry) == []


def test_aliases_move_and_roll_back(registry: Registry, tmp_path: Path) -> None:
    a, b, c = several(registry, tmp_path, 3)
    limits = Limits(max_errors=0.1)
    state = registry.set_alias(NAME, "champion", {a: 9, b: 1}, shadow=c, limits=limits, by="x", why="canary")
    split = Target.of({a: 0.9, b: 0.1}, c, limits)
    assert at(registry) == split
    assert state == registry.state()
    assert registry.set_alias(NAME, "champion", {a: 90, b: 10}, shadow=c, limits=limits, by="y") == state
    assert registry.rollback(NAME, "champion", by="x").generation == state.generation + 1
    assert at(registry) == Target.of({c: 1})
    registry.rollback(NAME, "champion", by="x")
    assert at(registry) == Target.of({b: 1})
    registry.remove_alias(NAME, "champion", by="x", why="over")
    assert at(registry) is None
    with pytest.raises(ConfigError, match="has no such alias"):
        registry.remove_alias(NAME, "champion", by="x")
    registry.rollback(NAME, "champion", by="x")
    assert at(registry) == Target.of({b: 1})
    whys = [change.why for change in registry.state().adapter(NAME).history["champion"]]
    assert whys == ["promoted"] * 3 + ["canary", "", "", "over", ""]


def test_deleting(registry: Registry, tmp_path: Path) -> None:
    a, b = several(registry, tmp_path, 2)
    with pytest.raises(ConfigError, match=r"aliases of sentiment/reviews need it: champion \(split\)"):
        registry.delete(NAME, b, by=BY)
    folder = registry.folder(registry.state().adapter(NAME).entry(a))
    registry.delete(NAME, a, by=BY)
    assert not folder.exists()
    assert left_over(registry) == []
    with pytest.raises(ConfigError, match=f"has no such version. Known: {b}"):
        registry.version(NAME, a)
    with pytest.raises(ConfigError, match="has no such version"):
        registry.delete(NAME, a, by=BY)
    registry.remove_alias(NAME, "champion", by=BY)
    registry.delete(NAME, b, by=BY)
    assert registry.state().adapters == {}


def test_a_damaged_version_can_be_deleted(registry: Registry, tmp_path: Path) -> None:
    a, _ = several(registry, tmp_path, 2)
    shutil.rmtree(registry.folder(registry.state().adapter(NAME).entry(a)))
    registry.delete(NAME, a, by=BY)
    assert a not in registry.state().adapter(NAME).versions


def test_the_stamp_changes_with_every_change(registry: Registry, tmp_path: Path) -> None:
    a, b = several(registry, tmp_path, 2)
    seen = {registry.stamp()}
    generation = registry.state().generation
    for number in range(20):
        registry.set_alias(NAME, "champion", {(a, b)[number % 2]: 1}, by=BY)
        assert registry.stamp() not in seen
        seen.add(registry.stamp())
    assert registry.state().generation == generation + 20
    assert registry.stamp() in seen, "reading changes nothing"


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"null", b"\xff", b"[" * 100_000, b'{"format": 9}'])
def test_a_damaged_state_is_said_and_never_written_over(registry: Registry, tmp_path: Path, data: bytes) -> None:
    source = make_adapter(tmp_path / "source")
    promote(registry, source)
    state = registry.path / "state.json"
    state.write_bytes(data)
    for act in (registry.state, lambda: promote(registry, source), lambda: registry.rollback(NAME, "champion", by=BY)):
        with pytest.raises(StoreError, match=r"state.json is damaged"):
            act()
    assert state.read_bytes() == data


def test_a_file_where_the_folder_should_be(tmp_path: Path) -> None:
    (tmp_path / "registry").touch()
    registry = Registry(tmp_path / "registry")
    for act in (registry.state, registry.stamp, lambda: promote(registry, make_adapter(tmp_path / "source"))):
        with pytest.raises(StoreError, match="registry"):
            act()


def test_left_overs_are_swept_when_they_are_old(registry: Registry, tmp_path: Path) -> None:
    version = promote(registry, make_adapter(tmp_path / "source"))
    beside = registry.folder(version).parent
    for name in (".new-old", ".old-old", "0123456789ab", ".new-young"):
        make_adapter(beside / name)
    for path in beside.iterdir():
        if path.name != ".new-young":
            long_ago = path.stat().st_mtime - LEFT_OVER - 60
            os.utime(path, (long_ago, long_ago))
    promote(registry, make_adapter(tmp_path / "other", 1), name=AdapterName("sentiment", "other"))
    assert sorted(os.listdir(beside)) == sorted([version.version, ".new-young"])


@pytest.mark.slow
def test_five_hundred_versions(registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda handle: None)  # the size is tested, not the disk
    versions = [promote(registry, make_adapter(tmp_path / str(n), n), None).version for n in range(500)]
    for version in versions[:-251:-1]:
        registry.set_alias(NAME, "champion", {version: 1}, by=BY)
    assert len(set(versions)) == 500
    state = registry.state()
    assert list(state.adapter(NAME).versions) == versions
    assert len(state.adapter(NAME).history["champion"]) == 200
    assert at(registry) == Target.of({versions[250]: 1})
    assert state.generation == 750
    registry.rollback(NAME, "champion", by=BY)
    assert at(registry) == Target.of({versions[251]: 1})
    with pytest.raises(ConfigError, match="and 490 more"):
        registry.delete(NAME, "0" * 12, by=BY)
