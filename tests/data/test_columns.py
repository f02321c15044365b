"""Guessing which column is the text and which the label."""

from __future__ import annotations

from typing import Any

import pytest

from tuner.data.columns import guess_fields, profile
from tuner.data.table import Table
from tuner.errors import DataError


def table(count: int = 20, **columns: Any) -> Table:
    rows = tuple({name: make(n) for name, make in columns.items()} for n in range(count))
    return Table("a.csv", tuple(columns), rows, tuple(range(2, count + 2)))


def test_types_lengths_and_values() -> None:
    data = table(id=lambda n: n, text=lambda n: "word " * n, tag=lambda n: "ab"[n % 2], more=lambda n: [n])
    number, text, tag, nested = profile(data)
    assert [number.type, text.type, tag.type, nested.type] == ["number", "text", "name", "nested"]
    assert text.empty == 1
    assert text.p95_length == 94
    assert tag.values == {"a": 10, "b": 10}
    assert number.distinct == 20


def test_the_longest_strings_are_the_text_and_a_telling_name_the_label() -> None:
    data = table(
        title=lambda n: f"Short {n}",
        body=lambda n: f"Quite a lot longer than the title, number {n}",
        verified=lambda n: "yn"[n % 2],
        Sentiment=lambda n: n % 3,
    )
    text, label = guess_fields(data, profile(data))
    assert (text.name, label.name) == ("body", "Sentiment")


def test_the_fewest_values_are_the_label_without_a_telling_name() -> None:
    data = table(a=lambda n: f"A text of its own {n}", b=lambda n: n % 5, c=lambda n: n % 2, d=lambda n: 1)
    assert guess_fields(data, profile(data))[1].name == "c"


def test_no_candidates_are_named_with_what_is_there() -> None:
    data = table(a=lambda n: n, b=lambda n: n * 2)
    with pytest.raises(DataError) as caught:
        guess_fields(data, profile(data))
    assert [problem.name for problem in caught.value.problems] == ["data.columns.text", "data.columns.label"]
    assert "'a': number, 20 distinct" in str(caught.value)
