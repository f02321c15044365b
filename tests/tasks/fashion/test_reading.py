"""What a text encoder has room for."""

from __future__ import annotations

from tests.tasks.fashion.toy import make_tokenizer
from tuner.tasks.fashion.reading import Reading


def test_words_beyond_the_room_are_not_read() -> None:
    tokenizer = make_tokenizer(length=8)  # six letters, and two tokens around them
    reading = Reading(tokenizer)
    assert (reading.unread("a dress"), reading.tokens("a dress")) == ("", 8)
    assert (reading.unread("a dresses"), reading.tokens("a dresses")) == ("dresses", 8)
    assert (reading.unread("a hat and a scarf"), reading.tokens("a hat and a scarf")) == ("and a scarf", 8)
    assert (reading.unread(""), reading.tokens("")) == ("", 2)


def test_it_reads_whole_whatever_the_tokenizer_was_last_asked() -> None:
    tokenizer = make_tokenizer(length=8)
    reading = Reading(tokenizer)
    tokenizer(["a", "b"], padding="max_length", max_length=4, truncation=True)
    assert reading.unread("a hat and a scarf") == "and a scarf"
    assert reading.tokens("a") == 3
