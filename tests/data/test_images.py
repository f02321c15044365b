"""Folders of pictures as rows: every layout, what is left out, what refuses a folder."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.data.pictures import describe, drawn, fill, png_claiming, save
from tuner.data.image_file import load_picture
from tuner.data.image_rows import ImageRows, fingerprint_images
from tuner.data.images import read_image_folder
from tuner.errors import DataError


def found(rows: ImageRows) -> dict[str, int]:
    return {finding.rule: finding.count for finding in rows.findings}


def skipped(rows: ImageRows) -> int:
    return sum(finding.count for finding in rows.findings if finding.bad)


def places(rows: ImageRows, rule: str) -> tuple[str, ...]:
    return next(finding.places for finding in rows.findings if finding.rule == rule)


def refusal(folder: Path, **options: Any) -> dict[str, str]:
    with pytest.raises(DataError) as caught:
        read_image_folder(folder, **options)
    return {str(problem.value): problem.rule for problem in caught.value.problems}


def test_metadata_names_pictures_captions_and_classes(tmp_path: Path) -> None:
    names = fill(tmp_path / "images", 4)
    lines = [{"file_name": f"images/{name}", "text": f"shoe {name}", "label": "shoe"} for name in names]
    (tmp_path / "metadata.jsonl").write_text("\n".join(map(json.dumps, lines)))
    rows = read_image_folder(tmp_path)
    assert [row.caption for row in rows.train] == [f"shoe {name}" for name in names]
    assert rows.train[0].path == tmp_path / "images/000.png"
    assert {(row.repeats, row.label) for row in rows.rows} == {(1, "shoe")}
    assert (rows.validation, rows.test, rows.findings) == (None, None, ())
    assert rows.layouts == {"train": "metadata"}


def test_metadata_wins_and_what_it_does_not_name_is_counted(tmp_path: Path) -> None:
    names = fill(tmp_path / "5_shoe", 6)
    (tmp_path / "5_shoe/000.txt").write_text("from a text")
    describe(tmp_path / "5_shoe", dict.fromkeys(names[:5], "from metadata"))
    (tmp_path / "5_shoe/metadata.csv").write_text("file_name,text\n000.png,from csv\n")
    rows = read_image_folder(tmp_path)
    assert {(row.caption, row.repeats) for row in rows.train} == {("from metadata", 5)}
    assert found(rows) == {"unlisted": 1}
    assert places(rows, "unlisted") == ("5_shoe/005.png",)
    assert rows.notes == (
        "train: captions come from a file of captions; "
        "not used as captions: text files (1), names of folders with repeats (1).",
        "5_shoe/metadata.csv: not read, another file of captions stands beside it.",
    )


def test_mistakes_of_metadata_are_named_with_their_lines(tmp_path: Path) -> None:
    names = fill(tmp_path / "set", 40)
    save(tmp_path / "out.png", 99)
    captions: dict[str, Any] = dict.fromkeys(names, "a shoe")
    captions |= {"none.png": "x", "../out.png": "x", "001.png": "", "002.png": 5}
    path = describe(tmp_path / "set", captions)
    with path.open("a") as file:
        file.write('{"file_name": "./000.png", "text": "another"}\n')
    rows = read_image_folder(tmp_path / "set")
    assert len(rows.train) == 38
    assert rows.train[0].caption == "a shoe"
    assert found(rows) == {"missing": 1, "outside": 1, "empty_caption": 1, "caption_file": 1, "twice": 1}
    assert skipped(rows) == 4
    assert places(rows, "missing") == ("metadata.jsonl line 41 (none.png)",)
    assert places(rows, "twice") == ("metadata.jsonl line 43 (000.png)",)


def test_texts_beside_the_pictures(tmp_path: Path) -> None:
    for name in fill(tmp_path, 30):
        (tmp_path / name).with_suffix(".txt").write_text(f"shoe\n{name}\n")
    (tmp_path / "000.txt").unlink()
    (tmp_path / "001.txt").write_text("  \n")
    (tmp_path / "002.txt").write_bytes(b"caf\xe9")
    (tmp_path / "orphan.txt").write_text("x")
    rows = read_image_folder(tmp_path)
    assert rows.layouts == {"train": "sidecar"}
    assert rows.train[0].caption == "shoe, 003.png"
    assert found(rows) == {"no_caption": 1, "empty_caption": 1, "caption_file": 1, "orphans": 1}


def test_a_text_that_is_a_link_out_is_not_read(tmp_path: Path) -> None:
    for name in fill(tmp_path / "set", 10):
        (tmp_path / "set" / name).with_suffix(".txt").write_text("a shoe")
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "set/000.txt").unlink()
    (tmp_path / "set/000.txt").symlink_to(tmp_path / "secret")
    rows = read_image_folder(tmp_path / "set")
    assert {row.caption for row in rows.rows} == {"a shoe"}
    assert places(rows, "outside") == ("000.txt",)


def test_folders_with_repeats_give_class_words_where_no_text_does(tmp_path: Path) -> None:
    fill(tmp_path / "img/10_red_shoe", 3)
    fill(tmp_path / "img/2_boot", 2, first=3)
    rows = read_image_folder(tmp_path)
    assert rows.layouts == {"train": "repeats"}
    assert [(r.caption, r.repeats, r.label) for r in rows.train[2:4]] == [
        ("red shoe", 10, "red shoe"),
        ("boot", 2, "boot"),
    ]
    (tmp_path / "img/2_boot/003.txt").write_text("a black boot")
    rows = read_image_folder(tmp_path)
    assert rows.layouts == {"train": "sidecar"}
    assert [r.caption for r in rows.train] == ["red shoe"] * 3 + ["a black boot", "boot"]
    assert "not used" not in rows.notes[0]


def test_repeats_win_over_classes(tmp_path: Path) -> None:
    fill(tmp_path / "10_shoe", 18)
    fill(tmp_path / "boot", 2, first=18)
    rows = read_image_folder(tmp_path)
    assert (len(rows.train), found(rows)) == (18, {"no_caption": 2})
    assert rows.notes[0].endswith("not used as captions: names of folders (1).")


def test_classes_are_captions(tmp_path: Path) -> None:
    fill(tmp_path / "t-shirt", 2)
    fill(tmp_path / "high_heel", 2, first=2)
    rows = read_image_folder(tmp_path)
    assert [row.caption for row in rows.train] == ["a photo of a high heel"] * 2 + ["a photo of a t-shirt"] * 2
    assert [row.label for row in rows.train] == ["high heel"] * 2 + ["t-shirt"] * 2


def test_a_flat_folder_needs_a_caption(tmp_path: Path) -> None:
    fill(tmp_path, 4)
    with pytest.raises(DataError, match="the 4 pictures of train have no captions") as caught:
        read_image_folder(tmp_path)
    assert "metadata.jsonl" in caught.value.problems[0].cure
    assert len(caught.value.problems) == 1


def test_columns_that_make_no_sense_are_all_named(tmp_path: Path) -> None:
    assert set(refusal(tmp_path, columns={"text": "x", "size": "y"})) == {"x", "y"}


def test_the_first_row_with_a_caption_is_used(tmp_path: Path) -> None:
    names = fill(tmp_path, 20)
    path = describe(tmp_path, {**dict.fromkeys(names, "a shoe"), "000.png": ""})
    with path.open("a") as file:
        file.write('{"file_name": "000.png", "text": "a boot"}\n{"file_name": "000.png", "text": "a hat"}\n')
    rows = read_image_folder(tmp_path)
    assert {row.path.name: row.caption for row in rows.train}["000.png"] == "a boot"
    assert found(rows) == {"empty_caption": 1, "twice": 1}
    assert places(rows, "twice") == ("metadata.jsonl line 22 (000.png)",)


def test_how_few_pictures_will_do(tmp_path: Path) -> None:
    fill(tmp_path / "shoe", 1)
    assert len(read_image_folder(tmp_path, least=1).train) == 1


def test_splits_by_folder_each_with_its_own_layout(tmp_path: Path) -> None:
    fill(tmp_path / "train/shoe", 4)
    for name in fill(tmp_path / "val", 2, first=4):
        (tmp_path / "val" / name).with_suffix(".txt").write_text("a boot")
    describe(tmp_path, {f"test/{name}": "a heel" for name in fill(tmp_path / "test", 2, first=6)})
    save(tmp_path / "stray.png", 9)
    rows = read_image_folder(tmp_path)
    assert rows.layouts == {"train": "class", "validation": "sidecar", "test": "metadata"}
    captions = {split: {row.caption for row in part} for split, part in rows.named().items()}
    assert captions == {"train": {"a photo of a shoe"}, "validation": {"a boot"}, "test": {"a heel"}}
    assert places(rows, "elsewhere") == ("stray.png",)


def test_pictures_in_two_splits_stay_in_the_later(tmp_path: Path) -> None:
    fill(tmp_path / "train/shoe", 8)
    save(tmp_path / "train/shoe/again.png", 7)
    save(tmp_path / "validation/shoe/a.png", 0)
    save(tmp_path / "validation/shoe/b.png", 1)
    save(tmp_path / "test/shoe/a.bmp", 1)
    rows = read_image_folder(tmp_path)
    assert {split: len(part) for split, part in rows.named().items()} == {"train": 7, "validation": 1, "test": 1}
    assert found(rows) == {"leaks": 3, "duplicates": 1}
    assert places(rows, "duplicates") == ("train/shoe/again.png",)


def test_a_split_with_nothing_left_is_refused(tmp_path: Path) -> None:
    fill(tmp_path / "train/shoe", 20)
    save(tmp_path / "test/shoe/a.png", Image.new("RGB", (8, 8)))
    assert refusal(tmp_path) == {"0": "there are no pictures left to measure on"}


def spoil(folder: Path) -> set[str]:
    """One of each kind of bad picture, and the rules they break."""
    save(folder / "frames.gif", 1, save_all=True, append_images=[drawn(2)])
    save(folder / "small.png", Image.new("RGB", (40, 8)))
    save(folder / "float.tif", Image.new("F", (40, 40), 0.5))
    cut = save(folder / "cut.jpg", drawn(1, 100, 100))
    cut.write_bytes(cut.read_bytes()[:1500])
    (folder / "bomb.png").write_bytes(png_claiming(50_000, 50_000))
    (folder / "words.png").write_text("hello")
    (folder / "photo.heic").write_bytes(b"\0\0\0\x18ftypheic")
    with (folder / "big.png").open("wb") as file:
        os.truncate(file.fileno(), 65 * 1_048_576)
    (folder / "gone.png").symlink_to("nothing.png")
    outside = save(folder.parents[1] / "outside.png", 3)
    (folder / "link.png").symlink_to(outside)
    return {
        *("animated", "too_small", "too_deep", "damaged", "too_many_pixels", "not_a_picture", "foreign"),
        *("too_many_bytes", "unreadable", "outside"),
    }


def test_a_few_bad_pictures_are_left_out_by_name(tmp_path: Path) -> None:
    fill(tmp_path / "set/shoe", 90)
    rules = spoil(tmp_path / "set/shoe")
    rows = read_image_folder(tmp_path / "set")
    assert (len(rows.train), skipped(rows)) == (90, 10)
    assert found(rows) == dict.fromkeys(rules, 1)
    assert places(rows, "too_small") == ("shoe/small.png (it has 40 x 8 pixels, and each side needs 32)",)


def test_many_bad_pictures_refuse_the_folder_with_all_of_them(tmp_path: Path) -> None:
    fill(tmp_path / "set/shoe", 89)
    rules = spoil(tmp_path / "set/shoe")
    wrong = refusal(tmp_path / "set")
    assert wrong.pop(str(tmp_path / "set")) == "10 of 99 pictures cannot be used, and 10% may be left out"
    assert set(wrong) == rules
    assert "shoe/cut.jpg" in wrong["damaged"]


def test_odd_pictures_are_used_and_counted(tmp_path: Path) -> None:
    fill(tmp_path / "shoe", 4)
    save(tmp_path / "shoe/a.png", drawn(10, mode="L"))
    save(tmp_path / "shoe/b.png", drawn(11, mode="RGBA"))
    save(tmp_path / "shoe/c.jpg", drawn(12, mode="CMYK"))
    save(tmp_path / "shoe/d.png", Image.fromarray(np.full((40, 40), 999, np.uint16)))
    save(tmp_path / "shoe/e.png", drawn(13, 200, 40))
    (tmp_path / "shoe/e.txt").write_text("word " * 76)
    for name in ("000", "001", "002", "003", "a", "b", "c", "d"):
        (tmp_path / f"shoe/{name}.txt").write_text("a shoe")
    rows = read_image_folder(tmp_path)
    assert len(rows.train) == 9
    assert found(rows) == {"long_caption": 1, "long": 1, "deep": 1, "cmyk": 1, "alpha": 1, "gray": 2}
    assert skipped(rows) == 0


def test_a_folder_of_one_picture(tmp_path: Path) -> None:
    fill(tmp_path / "shoe", 1)
    assert refusal(tmp_path) == {
        "1": "at least 4 pictures are needed: two to train on, one to validate and one to test with"
    }


def test_a_folder_without_pictures(tmp_path: Path) -> None:
    assert "there are no pictures" in refusal(tmp_path)[str(tmp_path)]
    assert "there is no such folder" in refusal(tmp_path / "none")[str(tmp_path / "none")]


def test_broken_metadata_is_the_one_mistake_told(tmp_path: Path) -> None:
    fill(tmp_path / "set", 4)
    path = tmp_path / "set/metadata.jsonl"
    path.write_text('{"file_name": "000.png", "text": "x"}\n{"file_name"')
    (rule,) = refusal(tmp_path / "set").values()
    assert "line 2 is not JSON" in rule
    path.rename(tmp_path / "elsewhere.jsonl")
    path.symlink_to(tmp_path / "elsewhere.jsonl")
    assert refusal(tmp_path / "set") == {"metadata.jsonl": "the file lies outside the folder, by a link"}


def test_mistakes_of_several_splits_come_together(tmp_path: Path) -> None:
    for split in ("train", "validation"):
        fill(tmp_path / split, 4)
        (tmp_path / split / "captions.csv").write_text("bild,text\n000.png,x\n")
    fill(tmp_path / "test", 4)
    with pytest.raises(DataError) as caught:
        read_image_folder(tmp_path)
    assert [problem.name for problem in caught.value.problems] == ["data.source.columns.file_name"] * 2


REAL = os.environ.get("TUNER_REALDATA")


@pytest.mark.skipif(not REAL, reason="TUNER_REALDATA does not name a folder with clothing_photos/")
def test_real_photographs_in_folders_by_class() -> None:
    rows = read_image_folder(Path(f"{REAL}/clothing_photos"))
    assert (len(rows.train), len({row.label for row in rows.train}), skipped(rows)) == (341, 10, 0)
    assert fingerprint_images(rows.train).rows == 341
    assert load_picture(rows.train[0].path, 64).shape == (64, 64, 3)
