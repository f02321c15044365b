"""What lies in a folder of pictures, and what the names of its subfolders mean."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest

from tuner.data.image_findings import Tally
from tuner.data.image_layout import ELSEWHERE, Kind, Layout, is_inside, read_layout
from tuner.errors import DataError


def layout(root: Path, *files: str) -> Layout:
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).touch()
    return read_layout(root, Tally(), "data.source")


def test_files_are_sorted_by_what_they_are(tmp_path: Path) -> None:
    found = layout(
        tmp_path,
        *("b.JPG", "a.png", "a.txt", "b.txt", "b.caption", "README.txt", "x/metadata.jsonl", "x/metadata.csv"),
        *("captions.tsv", ".hidden.png", ".git/a.png", "__MACOSX/a.png", "notes.md"),
    )
    assert [str(path) for path in found.pictures] == ["a.png", "b.JPG"]
    assert {str(k): str(v) for k, v in found.sidecars.items()} == {"a": "a.txt", "b": "b.txt"}
    assert {str(path) for path in found.tables} == {"captions.tsv", "x/metadata.jsonl"}
    assert [str(path) for path in found.spare_tables] == ["x/metadata.csv"]


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("a.png", Kind()),
        ("images/a.png", Kind()),
        ("red_dress/a.png", Kind("red dress")),
        ("t-shirt/new/a.png", Kind("t-shirt")),
        ("10_red dress/a.png", Kind("red dress", 10, True)),
        ("img/3_shoe/a.png", Kind("shoe", 3, True)),
        ("0_shoe/a.png", Kind("0 shoe")),
        ("10_/a.png", Kind("10")),
    ],
)
def test_folders_say_class_and_repeats(tmp_path: Path, path: str, kind: Kind) -> None:
    assert layout(tmp_path).kind_of(PurePosixPath(path)) == kind
    split = layout(tmp_path, "Train/x.png")
    assert split.kind_of(PurePosixPath("Train") / path) == kind


def test_folders_say_the_split(tmp_path: Path) -> None:
    assert layout(tmp_path, "shoe/a.png").split_of(PurePosixPath("shoe/a.png")) == "train"
    found = layout(tmp_path, "training/a.png", "val/boot/b.png", "test/c.png")
    assert [found.split_of(path) for path in found.pictures] == [ELSEWHERE, "test", "train", "validation"]
    assert found.split_of(PurePosixPath("train.png")) == ELSEWHERE


def test_splits_without_train_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is a folder for test and validation but none called train"):
        layout(tmp_path, "dev/a.png", "test/b.png")


def test_what_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "a.zip").touch()
    for path, rule in ((tmp_path / "a.zip", "this is a file"), (tmp_path / "none", "there is no such folder")):
        with pytest.raises(DataError, match=rule):
            read_layout(path, Tally(), "data.source")


def test_links_do_not_lead_out(tmp_path: Path) -> None:
    root, out = tmp_path / "set", tmp_path / "out"
    out.mkdir()
    (out / "b.png").touch()
    layout(root, "a.png")
    for link, target in (("b.png", out / "b.png"), ("c.png", root / "a.png"), ("d", out), ("loop.png", "loop.png")):
        (root / link).symlink_to(target)
    tally = Tally()
    found = read_layout(root, tally, "data.source")
    assert [str(path) for path in found.pictures] == ["a.png", "b.png", "c.png", "loop.png"]
    assert [is_inside(root, path) for path in found.pictures] == [True, False, True, True]
    assert [(finding.rule, finding.places) for finding in tally.findings()] == [("linked_folders", ("d",))]
    for path in ("../out/b.png", "d/b.png", str(out / "b.png"), "x/../a.png"):
        assert not is_inside(root, PurePosixPath(path))
    (tmp_path / "link").symlink_to(root)
    assert is_inside(tmp_path / "link", PurePosixPath("a.png"))
