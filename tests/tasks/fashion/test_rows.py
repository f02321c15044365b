"""Rows that hold their pictures, and those that are drawn in one style."""

from __future__ import annotations

import pickle
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tuner.bases.garments.captions import FORMS, caption
from tuner.bases.garments.draw import draw
from tuner.bases.garments.look import GARMENTS
from tuner.bases.garments.sample import styled
from tuner.tasks.fashion.rows import COUNTS, PictureRow, embedded_rows, encoded

STYLE = "pastel romantic"


@given(arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(3))))
@settings(max_examples=30, deadline=None)
def test_a_row_keeps_every_pixel(pixels: np.ndarray) -> None:
    row = PictureRow("a", "a hat", encoded(pixels))
    assert row.pixels().dtype == np.uint8
    assert np.array_equal(row.pixels(), pixels)


def test_the_rows_there_are_by_default() -> None:
    data = embedded_rows(STYLE, {}, 32)
    assert {split: len(rows) for split, rows in data.named().items()} == COUNTS
    assert COUNTS == {"train": 96, "validation": 20, "test": 40}
    assert data.resolution == 32
    rows = [row for split in data.named().values() for row in split]
    assert {row.pixels().shape for row in rows} == {(32, 32, 3)}
    assert {row.repeats for row in rows} == {1}
    assert len({row.png for row in rows}) == len(rows), "no picture stands in two splits"
    assert all(len({row.name for row in split}) == len(split) for split in data.named().values())
    for split, each in ((data.validation, 2), (data.test, 4)):
        assert Counter(row.label for row in split) == dict.fromkeys(GARMENTS, each)


def test_train_is_the_style_as_it_comes_and_every_wording_has_its_turn() -> None:
    looks = styled(STYLE, 100, 10)
    rows = embedded_rows(STYLE, {"train": 10, "validation": 1, "test": 1}, 48).train
    assert [row.caption for row in rows] == [caption(look, n % FORMS) for n, look in enumerate(looks)]
    assert [row.label for row in rows] == [look.garment for look in looks]
    assert np.array_equal(rows[3].pixels(), draw(looks[3], 48))


def test_held_out_rows_are_said_plainly() -> None:
    data = embedded_rows("denim", {"train": 1, "validation": 10, "test": 10}, 32)
    for rows, seed in ((data.validation, 101), (data.test, 102)):
        plain = {caption(look, 0) for look in styled("denim", seed, 400)}
        assert {row.caption for row in rows} <= plain
        assert all(f"denim {row.label} in " in row.caption for row in rows)


@given(st.integers(0, 12), st.integers(0, 12))
@settings(max_examples=5, deadline=None)
def test_fewer_rows_are_the_first_of_more(few: int, more: int) -> None:
    few, more = sorted((few, more))
    some = embedded_rows("vintage floral", dict.fromkeys(COUNTS, few), 32)
    all_ = embedded_rows("vintage floral", dict.fromkeys(COUNTS, more), 32)
    for split, rows in some.named().items():
        assert rows == all_.named()[split][:few]
    shown = Counter(row.label for row in all_.validation)
    assert max(shown.values(), default=0) - min((shown[garment] for garment in GARMENTS), default=0) <= 1


def test_rows_travel_as_bytes() -> None:
    data = embedded_rows(STYLE, dict.fromkeys(COUNTS, 3), 32)
    assert pickle.loads(pickle.dumps(data)) == data
    assert "PNG" not in repr(data)


@pytest.mark.parametrize(("style", "side"), [("gothic", 32), (STYLE, 31), (STYLE, 1025)])
def test_what_cannot_be_drawn(style: str, side: int) -> None:
    with pytest.raises(ValueError, match="must be"):
        embedded_rows(style, {"train": 1}, side)


def test_repeats_show_a_picture_again_in_other_words() -> None:
    once = embedded_rows(STYLE, {"train": 3}, 32)
    thrice = embedded_rows(STYLE, {"train": 3}, 32, 3)
    assert [row.png for row in thrice.train[::3]] == [row.png for row in once.train]
    assert all(row.repeats == 3 for row in thrice.train)
    for start in range(0, 9, 3):
        shown = thrice.train[start : start + 3]
        assert len({row.png for row in shown}) == 1
        assert len({row.caption for row in shown}) == 3
    assert thrice.validation == once.validation
