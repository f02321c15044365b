"""Fingerprints change with the rows, and only with the rows."""

from __future__ import annotations

from dataclasses import replace

from tuner.data.chat import ChatRow, ChatSplits, Turn
from tuner.data.classification import Row, Splits
from tuner.data.fingerprint import fingerprint, fingerprint_splits

ROWS = [Row("Good", 1, "a line 1"), Row("Bad", 0, "a line 2"), Row("Good", 1, "a line 3")]


def test_the_place_of_a_row_does_not_count() -> None:
    assert fingerprint(ROWS) == fingerprint([Row(row.text, row.label, "elsewhere") for row in ROWS])


def test_order_counts_in_one_form_only() -> None:
    turned = fingerprint(ROWS[::-1][1:] + ROWS[:1])
    assert turned.content == fingerprint(ROWS).content
    assert turned.sequence != fingerprint(ROWS).sequence


def test_text_label_and_number_of_rows_count() -> None:
    original = fingerprint(ROWS).content
    assert fingerprint(ROWS[:2]).content != original
    assert fingerprint([*ROWS[:2], Row("Good", 0, "")]).content != original
    assert fingerprint([*ROWS[:2], Row("good", 1, "")]).content != original


def test_it_stays_the_same_between_versions() -> None:
    """Studies on disk hold these: a change here breaks their resuming."""
    known = "9ecf678fdfef6009faec568d6bf1b69d"
    assert fingerprint(ROWS[:1]).content[:32] == known


def test_rows_of_any_task() -> None:
    one = fingerprint([{"question": "Why?", "answer": "Wear."}])
    assert one == fingerprint([{"answer": "Wear.", "question": "Why?"}])
    assert one.rows == 1
    assert len(one.content) == 64
    assert fingerprint([{"text": "\ud800"}]).content != fingerprint([{"text": ""}]).content


def test_splits_have_one_each() -> None:
    prints = fingerprint_splits(Splits(tuple(ROWS), tuple(ROWS[:1]), ()))
    assert {split: found.rows for split, found in prints.items()} == {"train": 3, "validation": 1, "test": 0}


def test_all_of_a_chat_row_counts_but_its_place() -> None:
    row = ChatRow((Turn("user", "Why?"),), "Wear.", ("wear",), "care", "basic", "a line 1")
    original = fingerprint([row]).content
    assert fingerprint([replace(row, where="elsewhere")]).content == original
    changes = [
        {"turns": (Turn("system", "Why?"),)},
        {"answer": "wear."},
        {"key_facts": ()},
        {"category": ""},
        {"level": ""},
    ]
    assert len({original, *(fingerprint([replace(row, **change)]).content for change in changes)}) == 6
    assert fingerprint_splits(ChatSplits((row,), (), ()))["train"].content == original
