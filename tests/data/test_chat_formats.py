"""Each row of a table becomes a conversation or is named in a problem, in every format and in mixed ones."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuner.data.chat_formats import Conversation, formats_of, read_conversations
from tuner.data.table import Table
from tuner.errors import Problem

CONVERSATION = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}]


def read(
    *rows: dict[str, Any], columns: tuple[str, ...] = (), **renamed: str
) -> tuple[list[Conversation], list[Problem], list[str]]:
    there = columns or tuple(dict.fromkeys(key for row in rows for key in row))
    problems: list[Problem] = []
    notes: list[str] = []
    table = Table("a.jsonl", there, rows, tuple(range(1, len(rows) + 1)))
    return read_conversations(table, renamed, problems, notes), problems, notes


@pytest.mark.parametrize(
    ("columns", "renamed", "names"),
    [
        (("question", "answer"), {}, ["question/answer"]),
        (("instruction", "output", "input"), {}, ["alpaca"]),
        (("conversations",), {}, ["sharegpt"]),
        (("messages", "answer", "question"), {}, ["question/answer", "sharegpt"]),
        (("messages", "answer", "question"), {"conversations": "messages"}, ["sharegpt", "question/answer"]),
        (("instruction", "output", "title"), {"question": "title"}, ["title/output"]),
        (("question", "output"), {}, []),
        (("question", "output"), {"answer": "output"}, ["question/output"]),
        (("instruction", "output"), {"question": "elsewhere"}, ["alpaca"]),
    ],
)
def test_formats_are_seen_from_the_columns(columns: tuple[str, ...], renamed: dict[str, str], names: list[str]) -> None:
    assert [form.name for form in formats_of(columns, renamed)] == names


def test_an_input_that_holds_the_question_is_not_appended_to_it() -> None:
    (((row),),), problems, notes = read({"input": "Why?", "output": "So."}, question="input", answer="output")
    assert (row.question, row.answer, problems) == ("Why?", "So.", [])
    assert notes == ["a.jsonl: read 1 rows as input/output."]


def test_a_blank_input_is_not_appended() -> None:
    ((row,),), _, _ = read({"instruction": "Why? ", "input": " ", "output": "So."})
    assert row.question == "Why?"


@pytest.mark.parametrize(
    ("cell", "facts"),
    [
        (["70-90%", " mold|mildew "], ("70-90%", "mold|mildew")),
        ("70-90%; mold|mildew;", ("70-90%", "mold|mildew")),
        ("七成\uff1b黴菌", ("七成", "黴菌")),
        ('["a; b", "c"]', ("a; b", "c")),
        (None, ()),
        ("", ()),
    ],
)
def test_key_facts(cell: Any, facts: tuple[str, ...]) -> None:
    ((row,),), problems, _ = read({"question": "Q", "answer": "A", "key_facts": cell, "level": "basic"})
    assert (row.key_facts, row.level, problems) == (facts, "basic", [])


def test_key_facts_of_a_conversation_belong_to_its_last_answer() -> None:
    ((one, two),), _, _ = read({"messages": CONVERSATION * 2, "key_facts": "x", "system": "Be brief.", "category": "c"})
    assert (one.key_facts, two.key_facts, one.category) == ((), ("x",), "c")
    assert one.turns[0].role == two.turns[0].role == "system"


def test_mixed_rows_are_read_by_the_format_they_fill() -> None:
    talks, problems, notes = read(
        {"question": "Q1", "answer": "A1"},
        {"instruction": "Q2", "output": "A2"},
        {"messages": CONVERSATION},
        {"question": "Q3", "answer": None, "instruction": "", "output": None},
        {"question": "Q4", "answer": "A4", "instruction": "other", "output": "other"},
        {"id": 3},
        {"question": "Q5"},
    )
    assert [row.question for talk in talks for row in talk] == ["Q1", "Q2", "Hi", "Q3", "Q4", "Q5"]
    (problem,) = problems
    assert "1 row fill none of question/answer or instruction/output or messages: a.jsonl line 6" in problem.rule
    assert "4 rows as question/answer, 1 rows as alpaca, 1 rows as sharegpt" in notes[0]
    assert "1 rows fill more than one" in notes[1]
    assert notes[1].endswith("a.jsonl line 5.")
    assert notes[2] == "a.jsonl: columns not used: 'id'."


def test_rows_that_fill_two_formats_crosswise_are_read() -> None:
    talks, problems, notes = read(
        {"question": "Q1", "answer": "A1", "system": ""},
        {"instruction": "Q2", "output": "A2"},
        {"question": "Q3", "output": "A3", "system": "Be brief."},
        {"question": "Q4", "Response": "A4"},
        {"instruction": "", "input": "Q5", "output": "A5"},
    )
    assert [(row.question, row.answer) for ((row),) in talks] == [(f"Q{n}", f"A{n}") for n in range(1, 6)]
    assert talks[2][0].turns[0].text == "Be brief."
    assert problems == []
    assert notes == [
        "a.jsonl: read 1 rows as question/answer, 2 rows as alpaca, 1 rows as question/output, "
        "1 rows as question/Response."
    ]


def test_a_field_that_was_named_is_read_from_nowhere_else() -> None:
    ((one,), (two,)), _, notes = read(
        {"question": "Q1", "best": "A1"}, {"question": "Q2", "best": "", "response": "worse"}, answer="best"
    )
    assert (one.answer, two.answer) == ("A1", "")
    assert "1 rows lack a question or an answer, but have text in columns that are not used ('response')" in notes[1]


def test_what_a_row_that_fills_nothing_holds_is_shown() -> None:
    _, (problem,), _ = read({"question": "Q", "answer": "A"}, {"title": "T", "story": "S"})
    assert problem.value == ["title, story"]


def test_half_of_a_surrogate_pair_becomes_the_sign_of_a_wrong_encoding() -> None:
    ((row,),), _, _ = read(
        {"question": "\ud83d bad?", "answer": "\ude00", "key_facts": ["\ude00"], "category": "\ud83d"}
    )
    assert (row.question, row.answer, row.key_facts, row.category) == ("\ufffd bad?", "\ufffd", ("\ufffd",), "\ufffd")


def test_a_row_of_blanks_is_kept_for_validation_to_count() -> None:
    talks, problems, _ = read({"question": " ", "answer": ""}, {"question": None, "answer": None})
    assert [(row.question, row.answer) for talk in talks for row in talk] == [("", ""), ("", "")]
    assert problems == []


def test_every_kind_of_broken_row_is_one_problem_with_three_places() -> None:
    talks, problems, _ = read(
        *[{"messages": CONVERSATION[:1]}] * 5,
        {"messages": [{"role": "tool", "content": "x"}]},
        {"messages": [{"role": "Narrator", "content": "x"}]},
        {"messages": CONVERSATION, "key_facts": 7},
        {"messages": [{"role": "system", "content": "a"}, *CONVERSATION], "system": "b"},
        {"messages": CONVERSATION, "category": ["a"]},
        {"messages": CONVERSATION},
    )
    assert len(talks) == 1
    rules = [problem.rule for problem in problems]
    assert len(rules) == 5
    assert rules[0] == (
        "5 rows do not end with an assistant's turn: a.jsonl line 1, a.jsonl line 2, a.jsonl line 3 ..."
    )
    assert problems[1].value == ["tool", "Narrator"]
    assert "The roles are system, user, human" in problems[1].cure
    assert rules[2].startswith("1 row have key facts that are neither")
    assert rules[3].startswith("1 row have a system turn and another text")
    assert rules[4].startswith("1 row have a list or an object where text should be")


@pytest.mark.parametrize(
    ("columns", "cure"),
    [
        (("Prompt", "response"), "columns: {question: Prompt, answer: response}"),
        (("question", "reply"), "columns: {question: question, answer: reply}"),
        (("dialogue", "id"), "columns: {conversations: dialogue}"),
        (("xx", "yy"), "columns: {question: NAME, answer: NAME}"),
    ],
)
def test_where_no_format_fits_the_columns_are_named_and_guessed(columns: tuple[str, ...], cure: str) -> None:
    talks, (problem,), _ = read({}, columns=columns)
    assert talks == []
    assert ", ".join(map(repr, columns)) in problem.rule
    assert cure in problem.cure


cells = st.one_of(st.none(), st.text(max_size=3), st.integers(0, 3), st.lists(st.text(max_size=2), max_size=2))
turns = st.lists(
    st.fixed_dictionaries({"role": st.sampled_from(["user", "gpt", "system", "x"]), "content": cells}), max_size=4
)
KEYS = ("question", "answer", "instruction", "output", "input", "key_facts", "history", "system")
some_rows = st.lists(
    st.fixed_dictionaries({}, optional={**dict.fromkeys(KEYS, cells), "messages": st.one_of(cells, turns)}), max_size=8
)


@given(some_rows)
def test_no_row_is_lost(rows: list[dict[str, Any]]) -> None:
    talks, problems, _ = read(*rows, columns=(*KEYS, "messages"))
    broken = sum(int(problem.rule.split()[0]) for problem in problems)
    assert len(talks) + broken == len(rows)
    assert all(talks)
