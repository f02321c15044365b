"""Folders are walked and files opened without following a link, also one that took a folder's place."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tuner.registry.tree import FILE, FOLDER, LINK, OTHER, Found, entries, opened, opened_file, sync_folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in" / "deep" / "er").mkdir(parents=True)
    (tmp_path / "in" / "a").write_text("a")
    (tmp_path / "in" / "deep" / "b").write_text("bb")
    (tmp_path / "in" / "deep" / "er" / "c").write_text("c")
    (tmp_path / "secret").write_text("secret")
    return tmp_path / "in"


def test_everything_is_listed_down_to_a_depth(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    (folder / "link").symlink_to("deep")
    with opened(folder) as root:
        assert list(entries(root, 1)) == [
            Found("a", FILE, 1),
            Found("deep", FOLDER),
            Found("deep/b", FILE, 2),
            Found("deep/er", FOLDER),
            Found("link", LINK),
            Found("pipe", OTHER),
        ]


def test_files_are_opened_part_by_part(folder: Path) -> None:
    with opened(folder) as root:
        with opened_file(root, "deep/er/c") as file:
            assert file.read() == b"c"
        (folder / "deep").rename(folder.parent / "away")
        (folder / "deep").symlink_to(folder.parent / "away")
        (folder / "a").unlink()
        (folder / "a").symlink_to(folder.parent / "secret")
        os.mkfifo(folder / "pipe")
        for path in ("deep/b", "a", "pipe", "gone"):
            with pytest.raises(OSError, match=r"Errno|regular"), opened_file(root, path):
                pass


def test_a_link_is_no_folder(folder: Path) -> None:
    link = folder.parent / "link"
    link.symlink_to(folder)
    with pytest.raises(OSError, match=r"Errno|regular"), opened(link):
        pass
    sync_folder(folder)


def test_no_descriptor_is_left_open(folder: Path) -> None:
    before = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").is_dir() else 0
    for _ in range(3):
        with opened(folder) as root:
            list(entries(root, 4))
            with opened_file(root, "deep/er/c"):
                pass
            with pytest.raises(OSError, match=r"Errno|regular"), opened_file(root, "deep/gone"):
                pass
    assert (len(os.listdir("/proc/self/fd")) if before else 0) == before
