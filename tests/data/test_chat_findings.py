"""Findings by index: repeats, leaks and facts, each where a plain comparison of texts would miss or invent one."""

from __future__ import annotations

from typing import Any

from tuner.data.chat_findings import contradictions, duplicates, is_empty, leaks, missing_facts, other_chinese
from tuner.data.chat_row import ChatRow, Turn


def row(question: str, answer: str, *before: str, **more: Any) -> ChatRow:
    said = [*before, question]
    turns = tuple(Turn("assistant" if n % 2 else "user", text) for n, text in enumerate(said))
    return ChatRow(turns, answer, **more)


def test_facts_are_sought_without_case_spacing_and_width() -> None:
    answer = "Keep it at 20\uff5e30 °C, with Silica  Gel."
    assert missing_facts(row("Q", answer, key_facts=("silica gel", "x|20~30"))) == []
    assert missing_facts(row("Q", "A", key_facts=("|", "b| ", "a"))) == ["|", "b| "]


def test_repeats_are_of_the_whole_question_and_of_filled_rows() -> None:
    rows = [
        row("Why?", "a", "Leather?", "Yes."),
        row("why? ", "A", "leather?", "Well."),
        row("Why?", "b", "Suede?", "No."),
    ]
    assert duplicates({"train": rows}) == {"train": [1]}
    assert contradictions({"train": rows}) == {"train": []}
    assert contradictions({"train": [*rows, row("Why?", "c", "Suede?", "No.")]}) == {"train": [3]}
    assert duplicates({"train": [row("a", ""), row("a", ""), row("", ""), row("", "")]}) == {"train": []}
    assert duplicates({"train": rows, "test": rows[:1]})["test"] == []


def test_leaks_are_left_to_the_last_split() -> None:
    named = {"train": [row("a", "1"), row("b", "1"), row("c", "1")], "validation": [row("A", "2"), row("b", "2")]}
    assert leaks({**named, "test": [row("b", "3"), row("c", "")]}) == {"train": [0, 1], "validation": [1], "test": []}
    assert is_empty(row("c", " "))


def test_japanese_and_languages_without_a_script_are_not_compared() -> None:
    rows = [row("Q", "這雙鞋應該晾乾"), row("Q", "国会で学ぶことができます"), row("Q", "Dry it.")]
    assert other_chinese({"train": rows}) == ({"train": []}, "traditional")
    assert other_chinese({"train": rows[1:]}) == ({"train": []}, "")
