"""Texts of requests."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve.texts import BadTextError, clean


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty"),
        (" \n\t ", "is empty"),
        ("\u3000", "is empty"),
        ("a" * 11, "has 11 characters, and 10 are read"),
        ("a\0", "a NUL character"),
        ("\ud800", "half of a character"),
    ],
)
def test_what_is_refused(text: str, words: str) -> None:
    with pytest.raises(BadTextError, match=words) as caught:
        clean(["fine", text], 10, "prompt")
    assert caught.value.param == "prompt"
    assert caught.value.status == 422
    assert str(caught.value).startswith("prompt ")


@given(st.lists(st.text(max_size=12)))
def test_what_passes_is_unchanged_and_can_be_sent(texts: list[str]) -> None:
    try:
        found = clean(texts, 10)
    except BadTextError as error:
        str(error).encode()  # the sentence repeats nothing that cannot be
        return
    assert found == texts
    assert all(text.strip() and len(text) <= 10 and "\0" not in text and text.encode() for text in texts)
