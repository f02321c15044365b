"""Which columns are taken for questions, answers and conversations."""

from __future__ import annotations

from typing import Any

import pytest

from tuner.data.chat_columns import CONTENT, OTHER_NAMES, USUAL_NAMES, named_chat, placed_chat
from tuner.data.columns import profile
from tuner.data.table import Table

TURNS = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]


def table(**cells: Any) -> Table:
    return Table("t.json", tuple(cells), (cells, cells), (1, 2))


def text_table(*names: str) -> Table:
    return table(**dict.fromkeys(names, "some words of text"))


@pytest.mark.parametrize(
    ("names", "renamed", "sure"),
    [
        (["id", "question", "answer"], {}, USUAL_NAMES),
        (["instruction", "input", "output", "system"], {}, USUAL_NAMES),
        (["Question", " Answer "], {"question": "Question", "answer": " Answer "}, USUAL_NAMES),
        (["question", "output"], {"question": "question", "answer": "output"}, OTHER_NAMES),
        (["prompt", "response"], {"question": "prompt", "answer": "response"}, OTHER_NAMES),
        (["input", "output"], {"question": "input", "answer": "output"}, OTHER_NAMES),
        (["问题", "答案"], {"question": "问题", "answer": "答案"}, OTHER_NAMES),
        (
            ["instruction", "context", "response"],
            {"question": "instruction", "answer": "response", "input": "context"},
            OTHER_NAMES,
        ),
        (["question", "answer", "Key Facts"], {"key_facts": "Key Facts"}, USUAL_NAMES),
        (["question", "answer", "System_Prompt"], {"system": "System_Prompt"}, USUAL_NAMES),
    ],
)
def test_pairs_by_their_names(names: list[str], renamed: dict[str, str], sure: int) -> None:
    found = named_chat(text_table(*names))
    assert found is not None
    assert (found.renamed, found.sure) == (renamed, sure)


@pytest.mark.parametrize("names", [["text", "label"], ["question", "label"], ["answer", "stars"], ["input", "input "]])
def test_names_of_something_else(names: list[str]) -> None:
    assert named_chat(text_table(*names)) is None


def test_conversations_hold_lists() -> None:
    assert named_chat(table(messages=TURNS)) is not None
    assert named_chat(table(messages='[{"role": "user"}]', n=1)) is not None, "as csv has it"
    assert named_chat(table(messages="I like it", label=1)) is None
    dialog = named_chat(table(dialog=TURNS, context="x"))
    assert dialog is not None
    assert (dialog.renamed, dialog.sure) == ({"conversations": "dialog"}, OTHER_NAMES)


def test_names_that_say_nothing_go_by_their_content() -> None:
    two = table(n=1, frage="Was tun bei Schimmel?", antwort="Mit Alkohol abwischen.")
    found = placed_chat(two, profile(two))
    assert found is not None
    assert (found.renamed, found.sure) == ({"question": "frage", "answer": "antwort"}, CONTENT)
    lists = table(n=1, talk=TURNS)
    found = placed_chat(lists, profile(lists))
    assert found is not None
    assert found.renamed == {"conversations": "talk"}
    for other in (text_table("a"), text_table("a", "b", "c"), table(a={"b": 1}), table(a=TURNS, b=TURNS)):
        assert placed_chat(other, profile(other)) is None
