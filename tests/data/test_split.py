"""Cutting and sampling: every row once, every stratum by its share, the same again for the same seed."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from tuner.data.split import cut, sample


@given(st.lists(st.integers(0, 3)), st.lists(st.integers(0, 30), max_size=3), st.integers(0, 9))
def test_every_row_lies_in_one_part_and_parts_have_their_size(strata: list[int], sizes: list[int], seed: int) -> None:
    rest, *parts = cut(strata, sizes, seed)
    assert sorted([*rest, *(index for part in parts for index in part)]) == list(range(len(strata)))
    left = len(strata)
    for part, size in zip(parts, sizes, strict=True):
        assert len(part) == min(size, left)
        assert part == sorted(part)
        left -= len(part)


def test_strata_keep_their_shares() -> None:
    strata = ["a"] * 600 + ["b"] * 300 + ["c"] * 100
    rest, part = cut(strata, [100], 0)
    assert Counter(strata[index] for index in part) == {"a": 60, "b": 30, "c": 10}
    assert Counter(strata[index] for index in rest) == {"a": 540, "b": 270, "c": 90}


def test_a_seed_gives_the_same_cut_and_another_another() -> None:
    strata = [index % 2 for index in range(100)]
    assert cut(strata, [20], 1) == cut(strata, [20], 1)
    assert cut(strata, [20], 1) != cut(strata, [20], 2)


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=1), st.integers(0, 9))
def test_rows_of_one_identity_stay_together(rows: list[tuple[int, bool]], seed: int) -> None:
    parts = cut([label for _, label in rows], [len(rows) // 4, len(rows) // 4], seed, [key for key, _ in rows])
    seen = [{rows[index][0] for index in part} for part in parts]
    assert sum(map(len, seen)) == len(set().union(*seen))
    assert sum(map(len, parts)) == len(rows)


def test_samples_are_drawn_without_replacement_and_never_more_than_there_are() -> None:
    strata = ["a"] * 30 + ["b"] * 10
    drawn = sample(strata, 8, 3)
    assert Counter(strata[index] for index in drawn) == {"a": 6, "b": 2}
    assert len(set(drawn)) == 8
    assert sample(strata, 100, 3) == list(range(40))
