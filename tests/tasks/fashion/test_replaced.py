"""A folder is replaced whole, and only where it is ours."""

from __future__ import annotations

from pathlib import Path

import pytest

from tuner.errors import StoreError
from tuner.tasks.fashion.replaced import replaced


def fill(folder: Path, text: str) -> None:
    with replaced(folder, "marker") as fresh:
        fresh.mkdir()
        (fresh / "marker").write_text(text, encoding="utf-8")


def test_an_older_one_an_empty_one_and_a_half_written_one_make_room(tmp_path: Path) -> None:
    half = tmp_path / ".f.new"
    half.mkdir()
    (half / "marker").touch()
    (tmp_path / "f").mkdir()
    for text in ("first", "second"):
        fill(tmp_path / "f", text)
        assert (tmp_path / "f" / "marker").read_text(encoding="utf-8") == text
    assert [path.name for path in tmp_path.iterdir()] == ["f"]


@pytest.mark.parametrize("name", ["f", ".f.new"])
@pytest.mark.parametrize("kind", ["folder", "file", "link"])
def test_what_is_not_ours_stays(tmp_path: Path, name: str, kind: str) -> None:
    there = tmp_path / name
    if kind == "file":
        there.touch()
    elif kind == "link":
        there.symlink_to(tmp_path / "elsewhere")
    else:
        there.mkdir()
        (there / "mine").touch()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(StoreError, match="in the way"):
        fill(tmp_path / "f", "new")
    assert sorted(tmp_path.rglob("*")) == before


def test_what_stops_the_writing_leaves_the_older_one(tmp_path: Path) -> None:
    fill(tmp_path / "f", "first")
    with pytest.raises(ZeroDivisionError), replaced(tmp_path / "f", "marker"):
        raise ZeroDivisionError
    assert (tmp_path / "f" / "marker").read_text(encoding="utf-8") == "first"
