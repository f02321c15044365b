"""Pieces of a text: whole characters, and nothing of what ends it, wherever its tokens' borders fall."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuner.lora.speech import Speech


def said_bytes(tokens: Sequence[int]) -> str:
    """A tokenizer of bytes, whose half characters are U+FFFD."""
    return bytes(tokens).decode("utf-8", "replace")


def spoiling_bytes(tokens: Sequence[int]) -> str:
    """One of which a byte that makes no character spoils the whole run of bytes, as byte fallback does."""
    try:
        return bytes(tokens).decode("utf-8")
    except UnicodeDecodeError:
        return "\ufffd" * len(tokens)


class Words:
    """A tokenizer of given pieces of text, which drops the blank before the first, as some do."""

    def __init__(self, pieces: Sequence[str]) -> None:
        self.pieces = pieces

    def __call__(self, tokens: Sequence[int]) -> str:
        return "".join(self.pieces[token] for token in tokens).removeprefix(" ")


def pieces_of(pieces: Sequence[str], stops: Sequence[str]) -> tuple[list[str], bool]:
    """What is said when a model writes these pieces."""
    return spoken(Speech(Words(pieces), stops), range(len(pieces)))


def spoken(speech: Speech, tokens: Sequence[int]) -> tuple[list[str], bool]:
    shown = []
    for token in tokens:
        shown.append(speech.hear(token))
        if speech.stopped:
            break
    shown.append(speech.end())
    return [piece for piece in shown if piece], speech.stopped


def expected(text: str, stops: Sequence[str]) -> tuple[str, bool]:
    """The rule, letter by letter: the first letter that completes a stop string ends the text before that string."""
    for end in range(1, len(text) + 1):
        starts = [end - len(stop) for stop in stops if text[:end].endswith(stop)]
        if starts:
            return text[: min(starts)].strip(), True
    return text.strip(), False


@pytest.mark.parametrize(
    ("pieces", "stops", "shown"),
    [
        (["ab", "cd", "ef"], ["cd"], ["ab"]),
        (["ab", "c", "d", "ef"], ["cd"], ["ab"]),
        (["a", "b", "c", "x", "y"], ["bcd"], ["a", "bcx", "y"]),
        (["ababa", "c"], ["abac"], ["ab"]),
        (["aaa", "ab"], ["aab"], ["a", "a"]),
        (["abc"], ["abc", "b"], ["a"]),
        (["abc"], ["bc", "abc"], []),
        (["鞋", "子", "發霉"], ["子發"], ["鞋"]),
        (["x", "\n", "\n", "y"], ["\n\n"], ["x"]),
        (["x", "\n", "y"], ["\n\n"], ["x", "\ny"]),
        ([" ", " ", "x", " ", "", "y", " "], [], ["x", " y"]),
        (["\n", "x"], ["\n"], []),
        (["END"], ["END"], []),
        (["EN"], ["END"], ["EN"]),
    ],
)
def test_stop_strings(pieces: list[str], stops: list[str], shown: list[str]) -> None:
    found, _ = pieces_of(pieces, stops)
    assert found == shown


LETTERS = st.text("ab鞋🙂 \n", max_size=30)


@given(LETTERS, st.lists(st.text("ab鞋🙂 \n", min_size=1, max_size=5), max_size=4), st.data())
def test_the_borders_of_tokens_change_nothing(text: str, stops: list[str], data: st.DataObject) -> None:
    raw = text.encode()
    byte_pieces = spoken(Speech(said_bytes, stops), list(raw))
    cuts = sorted(data.draw(st.sets(st.integers(0, len(text)))) | {0, len(text)})
    word_pieces = pieces_of(["", *(text[a:b] for a, b in pairwise(cuts))], stops)
    want = expected(text, stops)
    assert ("".join(byte_pieces[0]), byte_pieces[1]) == want
    if not text.startswith(" "):
        assert ("".join(word_pieces[0]), word_pieces[1]) == want


@given(st.lists(st.integers(0, 255), max_size=30), st.lists(st.text("ab鞋🙂", min_size=1, max_size=3), max_size=3))
def test_any_bytes_say_whole_characters(tokens: list[int], stops: list[str]) -> None:
    pieces, stopped = spoken(Speech(said_bytes, stops), tokens)
    want, want_stopped = expected(said_bytes(tokens).rstrip("\ufffd"), stops)
    assert ("".join(pieces), stopped) == (want, want_stopped)


@pytest.mark.parametrize("decode", [said_bytes, spoiling_bytes])
@pytest.mark.parametrize("text", ["乾🙂🧦濕，ж ok é！", "🙂", "á b", " 要 通風 "])
def test_characters_of_several_tokens_come_whole(decode: object, text: str) -> None:
    assert callable(decode)
    for cut in range(4):
        raw = text.encode()[: len(text.encode()) - cut]
        pieces, _ = spoken(Speech(decode), list(raw))
        assert "".join(pieces) == raw.decode("utf-8", "ignore").strip()
        assert not any("\ufffd" in piece for piece in pieces)


def test_a_byte_that_makes_no_character_spoils_none_that_was_shown() -> None:
    pieces, _ = spoken(Speech(spoiling_bytes), [*"🙂".encode(), 0xF0])
    assert pieces == ["🙂"]


def test_pieces_come_as_soon_as_they_may() -> None:
    speech = Speech(Words(["a", "b", "c", "d"]), ["bcx"])
    assert [speech.hear(token) for token in range(4)] == ["a", "", "", "bcd"]
    assert speech.tokens == [0, 1, 2, 3]
