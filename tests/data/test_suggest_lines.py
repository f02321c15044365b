"""How names, numbers and findings are written into a config."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tuner.data.columns import profile
from tuner.data.suggest_lines import decimal, described, other_language, quoted, source_reason
from tuner.data.table import Table


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_string_is_one_line_of_yaml(value: str) -> None:
    assert yaml.safe_load(quoted(value)) == value
    assert len(quoted(value).splitlines()) == 1


@given(st.floats(1e-9, 1e9))
def test_a_number_keeps_three_digits_and_is_one_to_yaml(value: float) -> None:
    read = yaml.safe_load(decimal(value))
    assert isinstance(read, int | float)
    assert read == pytest.approx(value, rel=6e-3)


def test_what_was_found() -> None:
    rows = ({"a": "one two", "b": [1]}, {"a": "", "b": [2]})
    table = Table("t", ("a", "b"), rows, (1, 2))
    text, nested = profile(table)
    assert "7 characters on average" in described(text)
    assert "1 empty" in described(text)
    assert described(nested, "turns") == '"b": lists or objects, turns'
    assert source_reason({"train": table}) == "one file, read as train"
    assert source_reason({"train": table, "test": table}) == "a folder with train (2 rows), test (2 rows)"


def test_only_a_language_without_a_base_is_said() -> None:
    assert [other_language(code) for code in ("en", "zh", "unknown")] == [[], [], []]
    assert "Russian" in other_language("ru")[0]
