"""Which rows a config names: a style that is drawn, a folder, folders split by split; cut, sampled, repeated."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.data.pictures import describe, drawn, fill, save
from tuner.bases.garments.look import GARMENTS
from tuner.config import DataConfig
from tuner.data.image_file import load_picture
from tuner.errors import DataError, Problem
from tuner.tasks.fashion.rows import REPEATS, embedded_rows
from tuner.tasks.fashion.sources import Loaded, load_pictures, style_of

SIDE = 32


def load(**data: Any) -> Loaded:
    return load_pictures(DataConfig(**data), SIDE)


def problems(side: int = SIDE, **data: Any) -> list[Problem]:
    with pytest.raises(DataError) as caught:
        load_pictures(DataConfig(**data), side)
    return list(caught.value.problems)


def captioned(folder: Path, count: int, first: int = 0) -> Path:
    """A folder of different pictures with a caption each."""
    describe(folder, {name: f"picture {name}" for name in fill(folder, count, first)})
    return folder


def test_embedded_rows_are_those_of_one_style() -> None:
    loaded = load()
    assert loaded.data == embedded_rows("pastel romantic", {}, SIDE, REPEATS)
    assert (loaded.notes, loaded.findings) == ((), ())
    assert set(loaded.fingerprints) == {"train", "validation", "test"}


@pytest.mark.parametrize(
    "source",
    ["embedded:vintage-floral", "embedded:vintage floral", "embedded:Vintage_Floral", "embedded: vintage floral"],
)
def test_other_styles_by_name(source: str) -> None:
    loaded = load(source=source, train_samples=2, validation_samples=1, test_samples=1)
    assert "vintage floral" in loaded.data.test[0].caption
    assert style_of(source) == "vintage floral"


def test_samples_of_the_embedded_rows() -> None:
    loaded = load(train_samples=5, validation_samples=10, test_samples=41)
    assert [len(rows) for rows in loaded.data.named().values()] == [5 * REPEATS, 10, 40]
    assert [row.label for row in loaded.data.validation] == list(GARMENTS)
    assert loaded.notes == ("test: 41 pictures were asked for and there are 40; all are used.",)
    whole = load()
    assert loaded.data.train == whole.data.train[: 5 * REPEATS]
    assert loaded.fingerprints["test"] == whole.fingerprints["test"]
    assert loaded.fingerprints["train"] != whole.fingerprints["train"]


@pytest.mark.parametrize("source", ["embedded:gothic", "embedded:"])
def test_a_style_that_is_not_there_names_those_that_are(source: str) -> None:
    [problem] = problems(source=source)
    assert (problem.name, problem.value) == ("data.source", source)
    assert (
        "embedded:vintage-floral, embedded:denim, embedded:monochrome-street, embedded:pastel-romantic" in problem.cure
    )


def test_garments_are_not_drawn_at_any_size() -> None:
    [problem] = problems(2048)
    assert "at most 1024 pixels a side, and the resolution is 2048" in problem.rule


def test_a_folder_is_cut_into_splits(tmp_path: Path) -> None:
    captioned(tmp_path, 20)
    loaded = load(source=str(tmp_path), validation_share=0.2, test_share=0.3, split_seed=5)
    named = loaded.data.named()
    assert {split: len(rows) for split, rows in named.items()} == {"train": 10, "validation": 4, "test": 6}
    rows = [row for split in named.values() for row in split]
    assert sorted(row.name for row in rows) == [f"{n:03}.png" for n in range(20)]
    for row in rows:
        assert row.caption == f"picture {row.name}"
        assert np.array_equal(row.pixels(), load_picture(tmp_path / row.name, SIDE))
    assert "validation: 4 rows cut from train (stratified, split_seed 5)." in loaded.notes
    again = load(source=str(tmp_path), validation_share=0.2, test_share=0.3, split_seed=5)
    assert (again.data, again.fingerprints) == (loaded.data, loaded.fingerprints)
    other = load(source=str(tmp_path), validation_share=0.2, test_share=0.3, split_seed=6)
    assert other.data != loaded.data


def test_fingerprints_do_not_depend_on_the_resolution(tmp_path: Path) -> None:
    config = DataConfig(source=str(captioned(tmp_path, 8)))
    small, large = load_pictures(config, 32), load_pictures(config, 64)
    assert small.fingerprints == large.fingerprints
    assert (small.data.resolution, large.data.train[0].pixels().shape) == (32, (64, 64, 3))


def test_classes_are_cut_and_sampled_alike(tmp_path: Path) -> None:
    fill(tmp_path / "red_hat", 12)
    fill(tmp_path / "shoe", 12, 12)
    loaded = load(source=str(tmp_path), train_samples=8, test_samples=100)
    assert Counter(row.label for row in loaded.data.train) == {"red hat": 4, "shoe": 4}
    assert {row.label for row in loaded.data.test} == {"red hat", "shoe"}
    assert {row.caption for row in loaded.data.train} == {"a photo of a red hat", "a photo of a shoe"}
    assert loaded.data.train[0].name.startswith("red_hat/")
    assert loaded.notes[-1] == f"test: 100 rows were asked for and there are {len(loaded.data.test)}; all are used."


def test_splits_of_a_folder_stay_as_they_are(tmp_path: Path) -> None:
    for split, count, first in (("train", 6, 0), ("val", 3, 6), ("test", 2, 9)):
        captioned(tmp_path / split, count, first)
    loaded = load(source=str(tmp_path))
    assert [len(rows) for rows in loaded.data.named().values()] == [6, 3, 2]
    assert {row.name for row in loaded.data.validation} == {"val/006.png", "val/007.png", "val/008.png"}


def test_repeats_count_in_training_alone(tmp_path: Path) -> None:
    fill(tmp_path / "3_shoe", 6)
    fill(tmp_path / "1_hat", 6, 6)
    loaded = load(source=str(tmp_path))
    data = loaded.data
    shown = Counter(row.name for row in data.train)
    assert {shown[row.name] for row in data.train if row.label == "shoe"} == {3}
    assert {row.repeats for row in data.train if row.label == "hat"} == {1}
    assert all(shown[row.name] == row.repeats for row in data.train)
    assert {row.repeats for rows in (data.validation, data.test) for row in rows} == {1}
    assert len({row.name for row in data.validation}) == len(data.validation)


def test_folders_split_by_split(tmp_path: Path) -> None:
    train, test = captioned(tmp_path / "a", 8), captioned(tmp_path / "b", 5, 8)
    save(test / "gray.png", drawn(99, mode="L"))
    describe(test, {**{f"{n:03}.png": "x" for n in range(8, 13)}, "gray.png": "gray"})
    loaded = load(train=str(train), test=str(test), validation_share=0.25)
    assert [len(rows) for rows in loaded.data.named().values()] == [6, 2, 6]
    assert {finding.rule: dict(finding.counts) for finding in loaded.findings} == {"gray": {"test": 1}}
    assert loaded.notes[:2] == (
        "train: captions come from a file of captions.",
        "test: captions come from a file of captions.",
    )


def test_a_folder_of_its_own_replaces_that_of_the_source(tmp_path: Path) -> None:
    for split, first in (("train", 0), ("test", 5)):
        captioned(tmp_path / "data" / split, 5, first)
    own = captioned(tmp_path / "own", 4, 10)
    loaded = load(source=str(tmp_path / "data"), test=str(own))
    assert {row.name for row in loaded.data.test} == {"010.png", "011.png", "012.png", "013.png"}


def test_pictures_of_two_folders_are_compared(tmp_path: Path) -> None:
    train, test = captioned(tmp_path / "a", 8), captioned(tmp_path / "b", 6, 6)
    loaded = load(train=str(train), test=str(test))
    held = {row.name for row in loaded.data.train + loaded.data.validation}
    assert held == {f"{n:03}.png" for n in range(6)}
    [finding] = loaded.findings
    assert (finding.rule, dict(finding.counts), finding.places) == ("leaks", {"train": 2}, ("006.png", "007.png"))


def test_a_split_that_another_holds_whole(tmp_path: Path) -> None:
    train, test = captioned(tmp_path / "a", 8), captioned(tmp_path / "b", 4)
    [problem] = problems(train=str(train), validation=str(test), test=str(test))
    assert problem.name == "data.validation"
    assert "stands in another split as well" in problem.rule


def crops_alike(folder: Path, name: str, seed: int) -> None:
    """A picture with the middle square of the drawn one of that seed, and another edge, beyond what resizing reads."""
    picture = drawn(seed)
    picture.paste((0, 0, 0), (0, 0, picture.width, 1))
    save(folder / name, picture)


def test_pictures_that_training_sees_alike_are_compared(tmp_path: Path) -> None:
    train, test = captioned(tmp_path / "a", 12), captioned(tmp_path / "b", 2, 20)
    crops_alike(test, "edges.png", 3)
    describe(test, {"020.png": "x", "021.png": "x", "edges.png": "x"})
    loaded = load(train=str(train), validation=str(captioned(tmp_path / "c", 4, 30)), test=str(test))
    assert {row.name for row in loaded.data.train} == {f"{n:03}.png" for n in range(12) if n != 3}
    assert len(loaded.data.test) == 3
    [finding] = loaded.findings
    assert (finding.rule, dict(finding.counts)) == ("leaks", {"train": 1})
    assert finding.places == ("003.png (its middle square)",)
    clean = load(train=str(train), validation=str(tmp_path / "c"), test=str(captioned(tmp_path / "d", 2, 20)))
    assert clean.fingerprints["train"] != loaded.fingerprints["train"]


def test_a_split_that_training_sees_whole(tmp_path: Path) -> None:
    train, test = captioned(tmp_path / "a", 8), captioned(tmp_path / "b", 2, 20)
    crops_alike(tmp_path / "c", "edges.png", 20)
    describe(tmp_path / "c", {"edges.png": "x"})
    [problem] = problems(train=str(train), validation=str(tmp_path / "c"), test=str(test))
    assert (problem.name, "every picture of validation" in problem.rule) == ("data.validation", True)


def test_equal_pictures_cannot_be_cut(tmp_path: Path) -> None:
    for number in range(6):
        save(tmp_path / f"{number}.png", 1)
    describe(tmp_path, {f"{number}.png": "x" for number in range(6)})
    [problem] = problems(source=str(tmp_path))
    assert "once equal pictures stay together" in problem.rule


def test_a_folder_held_out_may_be_small(tmp_path: Path) -> None:
    train = str(captioned(tmp_path / "a", 8))
    small = {split: str(captioned(tmp_path / split, 1, first)) for split, first in (("validation", 20), ("test", 30))}
    assert [len(rows) for rows in load(train=train, **small).data.named().values()] == [8, 1, 1]
    [problem] = problems(train=str(captioned(tmp_path / "c", 3, 40)), **small)
    assert (problem.name, problem.value) == ("data.train pictures", 3)


def test_a_folder_to_train_on_replaces_any_drawn_style(tmp_path: Path) -> None:
    train = str(captioned(tmp_path, 8))
    assert load(source="embedded:vintage-floral", train=train).data == load(train=train).data


def test_a_folder_of_one_split_has_no_splits(tmp_path: Path) -> None:
    for split, first in (("train", 0), ("test", 5)):
        captioned(tmp_path / split, 5, first)
    [problem] = problems(train=str(tmp_path))
    assert (problem.name, problem.rule) == ("data.train", "this folder has splits of its own: train, test")


def test_columns_are_renamed(tmp_path: Path) -> None:
    names = fill(tmp_path, 6)
    lines = "".join(f"{name},ein Hut\n" for name in names)
    (tmp_path / "metadata.csv").write_text(f"file_name,titel\n{lines}")
    loaded = load(source=str(tmp_path), columns={"caption": "titel"})
    assert {row.caption for row in loaded.data.train} == {"ein Hut"}
    assert {problem.name for problem in problems(source=str(tmp_path), columns={"size": "x"})} == {"data.columns.size"}


def test_every_folder_says_what_is_wrong_with_it(tmp_path: Path) -> None:
    fill(tmp_path / "a", 5)
    found = problems(train=str(tmp_path / "a"), test=str(tmp_path / "b"))
    assert [problem.name for problem in found] == ["data.train", "data.test"]
    assert "have no captions" in found[0].rule
    assert "no such folder" in found[1].rule


def test_an_empty_caption_refuses_a_small_folder(tmp_path: Path) -> None:
    names = fill(tmp_path, 5)
    describe(tmp_path, {**dict.fromkeys(names, "a hat"), names[0]: " "})
    assert any("empty caption" in problem.rule for problem in problems(source=str(tmp_path)))


@pytest.mark.parametrize("source", ["owner/pictures", "pictures"])
def test_the_hub_is_not_read(source: str) -> None:
    [problem] = problems(source=source)
    assert (problem.name, problem.value) == ("data.source", source)
    assert "no such folder, and data sets of the hub are not read for pictures" in problem.rule
    assert "--local-dir FOLDER" in problem.cure


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    [problem] = problems(source=str(save(tmp_path / "a.png")))
    assert "a file, not a folder" in problem.rule


def test_contradictions_at_once() -> None:
    found = problems(source="embedded:gothic", test="/some/where", labels={"a": 0})
    assert [problem.name for problem in found] == ["data.labels", "data.train", "data.source"]
    [problem] = problems(source="folder", train="/some/where")
    assert (problem.name, problem.rule) == ("data.train", "data.source is 'folder' as well")


REAL = os.environ.get("TUNER_REALDATA")


@pytest.mark.skipif(not REAL, reason="TUNER_REALDATA does not name a folder with clothing_photos/")
def test_real_photographs() -> None:
    loaded = load_pictures(DataConfig(source=f"{REAL}/clothing_photos", train_samples=30), 64)
    data = loaded.data
    assert len(data.train) == 30
    assert all(len({row.label for row in rows}) == 10 for rows in data.named().values())
    assert {row.pixels().shape for rows in data.named().values() for row in rows} == {(64, 64, 3)}
