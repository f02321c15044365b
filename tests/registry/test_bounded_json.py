"""JSON of others: parsed as json does, but for keys that come twice and what is nested too deep."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tuner.registry.bounded_json import parse_json

VALUES = st.recursive(
    st.none() | st.integers() | st.text('[]{}"\\a'),
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(st.text('[{"', max_size=2), inside, max_size=3),
    max_leaves=8,
)


def depth_of(value: Any) -> int:
    if isinstance(value, dict):
        value = list(value.values())
    return 1 + max(map(depth_of, value), default=0) if isinstance(value, list) else 0


@settings(deadline=None)
@given(VALUES)
def test_what_is_not_too_deep_parses(value: Any) -> None:
    data, depth = json.dumps(value).encode(), depth_of(value)
    assert parse_json(data, depth) == value
    if depth:
        with pytest.raises(ValueError, match=f"more than {depth - 1} levels"):
            parse_json(data, depth - 1)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"[" * 200_000 + b"]" * 200_000, "nested more than 64"),
        (b'{"a":' * 200_000, "nested more than 64"),
        (b'[{"a": 1, "a": 2}]', "comes twice"),
        (b"\xff\xfe", "no UTF-8"),
        (b'{"a": ', "no JSON"),
        (b"9" * 5000, "digits"),
    ],
)
def test_what_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_json(data, 64)
