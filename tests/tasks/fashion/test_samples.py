"""Which pictures are kept, and the image folder they become, as the reader of folders sees it."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tasks.fashion import toy
from tuner.config import DataConfig
from tuner.errors import StoreError
from tuner.tasks.fashion.features import Feature
from tuner.tasks.fashion.rows import PictureRow
from tuner.tasks.fashion.samples import KEPT_SHARE, LEAST, Sample, choose, same_samples, tables, write_samples
from tuner.tasks.fashion.sources import load_pictures


def sample(number: int, similarity: float, label: str | None = None, confidence: float = 0.5) -> Sample:
    row = PictureRow(f"p{number}", f"caption {number}", b"", label)
    return Sample(row, f"prompt {number}", (Feature("colour", "red", confidence),), similarity)


@given(st.lists(st.tuples(st.floats(-1, 1) | st.just(math.nan), st.sampled_from(["a", "b", None])), max_size=40))
def test_the_best_of_each_class_are_kept_in_their_order(drawn: list[tuple[float, str | None]]) -> None:
    samples = [sample(number, similarity, label) for number, (similarity, label) in enumerate(drawn)]
    kept = choose(samples)
    assert kept == [each for each in samples if each in kept]
    assert len(kept) >= min(LEAST, len(samples))
    counts, there = Counter(each.row.label for each in kept), Counter(each.row.label for each in samples)
    for label, count in there.items():
        assert counts[label] >= math.ceil(KEPT_SHARE * count)
        left = [each.similarity for each in samples if each.row.label == label and each not in kept]
        worst = min((each.similarity for each in kept if each.row.label == label), default=math.inf)
        assert math.isnan(worst) or all(math.isnan(value) or value <= worst for value in left)
    assert len(kept) <= max(LEAST, sum(math.ceil(KEPT_SHARE * count) for count in there.values()))


def test_a_quarter_is_left_out_and_of_equals_the_unsure() -> None:
    samples = [sample(number, 0.1 + 0.01 * (number % 16)) for number in range(16)]
    assert [each.row.name for each in choose(samples)] == [f"p{number}" for number in range(4, 16)]
    equal = [sample(number, 0.2, confidence=0.9 if number % 4 else 0.1) for number in range(16)]
    assert all(each.confidence == 0.9 for each in choose(equal))


def test_the_folder_is_read_as_what_was_written(tmp_path: Path) -> None:
    data = toy.make_data((10, 4, 4))
    train = [replace(row, repeats=3 if number == 2 else 1) for number, row in enumerate(data.train)]
    kept = [Sample(row, f"words for {row.name}", (), 0.5) for row in train[:9]]
    held_out = {"validation": data.validation, "test": data.test}
    lines, folder = tables(kept, held_out), tmp_path / "samples"
    assert not same_samples(folder, lines)
    write_samples(folder, lines, {"train": [each.row for each in kept], **held_out})
    assert same_samples(folder, lines)
    found = load_pictures(DataConfig(source=str(folder)), toy.SIDE).data
    assert sorted(row.caption for row in found.train) == sorted(
        each.prompt for each in kept for _ in range(each.row.repeats)
    )
    for ours, theirs in ((data.validation, found.validation), (data.test, found.test)):
        assert [row.caption for row in ours] == [row.caption for row in theirs]
        assert [row.label for row in ours] == [row.label for row in theirs]
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(a.pixels(), b.pixels())
    pixels = {each.prompt: each.row.pixels().tobytes() for each in kept}
    assert all(pixels[row.caption] == row.pixels().tobytes() for row in found.train)


def test_other_samples_take_the_place_of_those_there(tmp_path: Path) -> None:
    data = toy.make_data((10, 4, 4))
    held_out = {"validation": data.validation, "test": data.test}
    for count in (10, 8):
        kept = [Sample(row, row.caption, (), 0.5) for row in data.train[:count]]
        lines = tables(kept, held_out)
        assert not same_samples(tmp_path / "s", lines)
        write_samples(tmp_path / "s", lines, {"train": [each.row for each in kept], **held_out})
    assert len(list((tmp_path / "s" / "train").glob("*.png"))) == 8
    assert [path.name for path in tmp_path.iterdir()] == ["s"]


def test_pictures_of_somebody_else_are_not_replaced(tmp_path: Path) -> None:
    mine = tmp_path / "s" / "train" / "metadata.jsonl"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine", encoding="utf-8")
    with pytest.raises(StoreError, match="in the way"):
        write_samples(tmp_path / "s", {"train": []}, {"train": []})
    assert mine.read_text(encoding="utf-8") == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["s"]


def test_what_was_not_measured_is_null() -> None:
    assert sample(1, math.nan).to_json(False)["similarity"] is None
    found = sample(1, 0.25).to_json(True)
    assert (found["similarity"], found["confidence"], found["kept"]) == (0.25, 0.5, True)
