"""Captions from files of captions, from texts beside pictures and from names of classes."""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath

import pytest

from tuner.data.image_captions import MAX_TEXT_BYTES, Entry, class_caption, one_line, read_entries, read_sidecar
from tuner.errors import DataError


def entries(folder: Path, file: str, content: str, **columns: str) -> list[Entry]:
    path = folder / file
    path.parent.mkdir(exist_ok=True)
    path.write_text(content, encoding="utf-8")
    return read_entries(folder, PurePosixPath(file), columns, "data.source")


@pytest.mark.parametrize("column", ["text", "caption", "prompt", "Text"])
@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("metadata.jsonl", '{{"file_name": "a.png", "{0}": "A red\\nshoe"}}\n'),
        ("metadata.csv", 'file_name,{0}\na.png,"A red\nshoe"\n'),
        ("captions.csv", "image;{0}\na.png;A red, shoe\n"),
        ("captions.tsv", "filename\t{0}\na.png\tA red, shoe\n"),
    ],
)
def test_every_file_of_captions(tmp_path: Path, column: str, file: str, content: str) -> None:
    (entry,) = entries(tmp_path, file, content.format(column))
    assert entry.path == PurePosixPath("a.png")
    assert entry.caption == "A red, shoe"
    assert entry.label is None
    assert entry.where == f"{file} line {1 if 'jsonl' in file else 2}"


def test_names_count_from_the_file_of_captions(tmp_path: Path) -> None:
    lines = [{"file_name": name, "text": "x", "label": label} for name, label in [("./b\\a.png", 3), ("../c.png", " ")]]
    found = entries(tmp_path, "train/metadata.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    assert [entry.path for entry in found] == [PurePosixPath("train/b/a.png"), PurePosixPath("train/../c.png")]
    assert [entry.label for entry in found] == ["3", None]


def test_cells_that_are_no_name_and_no_caption(tmp_path: Path) -> None:
    lines = [{"file_name": name, "text": 5} for name in ("", None, 7, "a\0.png", "\ud800.png")]
    lines += [{"file_name": "a.png", "text": text} for text in (None, "  ", ["x"])]
    found = entries(tmp_path, "metadata.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    assert [entry.path for entry in found[:5]] == [None] * 5
    assert [entry.caption for entry in found[4:]] == [None, "", "", None]


def test_columns_are_renamed_and_missing_ones_named(tmp_path: Path) -> None:
    text = "bild,beschreibung,text\na.png,ein Schuh,x\n"
    (entry,) = entries(tmp_path, "metadata.csv", text, file_name="bild", caption="beschreibung")
    assert (entry.path, entry.caption) == (PurePosixPath("a.png"), "ein Schuh")
    with pytest.raises(DataError) as caught:
        entries(tmp_path, "metadata.csv", "bild,beschreibung\na.png,x\n", label="art")
    assert [p.name.rpartition(".")[2] for p in caught.value.problems] == ["file_name", "caption", "label"]
    assert "its columns are 'bild', 'beschreibung'" in caught.value.problems[0].rule


@pytest.mark.parametrize(
    ("text", "caption"),
    [
        ("a red shoe\n", "a red shoe"),
        ("red shoe\n\n white  background \nside view", "red shoe, white background, side view"),
        ("A red shoe.\r\nOn white.", "A red shoe. On white."),
        ("shoe,\nred", "shoe, red"),
        (" \n", ""),
        ("\ufeff红色的鞋。\n白色", "红色的鞋。 白色"),
    ],
)
def test_lines_of_a_text_are_joined(tmp_path: Path, text: str, caption: str) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(text.encode())
    assert read_sidecar(path) == caption
    assert one_line(caption) == caption


def test_texts_that_are_not_captions(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    for raw, rule in ((b"caf\xe9", "byte 4"), (b"\xff\xfea\0", "is NUL"), (b"x" * (MAX_TEXT_BYTES + 1), "at most")):
        path.write_bytes(raw)
        with pytest.raises(DataError, match=rule):
            read_sidecar(path)
    with pytest.raises(DataError, match="not a file"):
        read_sidecar(tmp_path)


def test_the_class_is_the_caption() -> None:
    assert class_caption("red {shoe}") == "a photo of a red {shoe}"
