"""Conversations and histories as cells hold them, and the name of each way to break one."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuner.data.chat_row import Turn
from tuner.data.turns import ROLES, BrokenRow, read_history, read_turns


def said(*roles: str) -> list[dict[str, str]]:
    return [{"from": role, "value": f" {n} "} for n, role in enumerate(roles)]


def test_both_spellings_and_json_text_are_read() -> None:
    expected = (Turn("system", "0"), Turn("user", "1"), Turn("assistant", "2"))
    assert read_turns(said("System", "human", "GPT")) == expected
    assert read_turns(json.dumps(said("system", "user", "assistant"))) == expected
    assert read_turns([{"role": turn.role, "content": turn.text} for turn in expected]) == expected


@pytest.mark.parametrize(
    ("cell", "kind"),
    [
        ("Hello", "hold no list of turns"),
        ([], "hold no list of turns"),
        ({"from": "human"}, "hold no list of turns"),
        ("[1, ", "hold no list of turns"),
        (["Hi"], "have a turn that is no object"),
        ([{"value": "x"}], "have a turn of an unknown role"),
        ([{"from": 3, "value": "x"}], "have a turn of an unknown role"),
        ([{"from": "human", "value": 5}], "have a turn whose text is not a string"),
        ([{"from": "human"}], "have a turn whose text is not a string"),
        (said("human", "human", "gpt"), "have two turns of the user in a row"),
        (said("human", "gpt", "gpt"), "have two turns of the assistant in a row"),
        (said("human", "gpt", "human"), "do not end with an assistant's turn"),
        (said("system"), "do not end with an assistant's turn"),
        (said("gpt", "human", "gpt"), "begin with an assistant's turn"),
        (said("human", "system", "gpt"), "have a system turn that is not the first"),
    ],
)
def test_each_way_to_be_broken_has_a_name(cell: Any, kind: str) -> None:
    with pytest.raises(BrokenRow, match=kind):
        read_turns(cell)


@given(st.lists(st.sampled_from(sorted(ROLES)), min_size=1, max_size=6))
def test_what_is_read_alternates_and_ends_with_the_assistant(roles: list[str]) -> None:
    try:
        turns = read_turns(said(*roles))
    except BrokenRow:
        return
    assert [turn.text for turn in turns] == [str(n) for n in range(len(roles))]
    spoken = [turn.role for turn in turns if turn.role != "system"]
    assert spoken == ["user", "assistant"] * (len(spoken) // 2)
    assert spoken


def test_history() -> None:
    expected = (Turn("user", "a"), Turn("assistant", "b"))
    assert read_history([["a ", "b"]]) == read_history('[["a", "b"]]') == expected
    assert read_history(None) == read_history(" ") == read_history([]) == ()
    for broken in ("a, b", [["a"]], ["ab"], [["a", 1]], 4):
        with pytest.raises(BrokenRow, match="no list of"):
            read_history(broken)


def test_half_of_a_surrogate_pair_becomes_the_sign_of_a_wrong_encoding() -> None:
    broken = json.loads('["\\ud83d bad? ", "\\ud83d\\ude00"]')
    assert read_history([broken]) == (Turn("user", "\ufffd bad?"), Turn("assistant", "\U0001f600"))
    talk = json.dumps([{"role": "user", "content": broken[0]}, {"role": "assistant", "content": broken[1]}])
    assert [turn.text for turn in read_turns(talk)] == ["\ufffd bad?", "\U0001f600"]
