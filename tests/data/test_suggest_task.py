"""The task that a table is taken for, and what is said where there is no telling."""

from __future__ import annotations

import pytest

from tuner.data.columns import profile
from tuner.data.suggest_task import Choice, choose
from tuner.data.table import Table
from tuner.errors import DataError


def choice(*names: str, task: str | None = None, distinct: int = 2) -> Choice:
    """Of a table in which every column has so many values, each several times where they are few."""
    rows = tuple({name: f"{name} has value {n % distinct}" for name in names} for n in range(40))
    table = Table("t.csv", names, rows, tuple(range(40)))
    return choose(table, profile(table), task)


@pytest.mark.parametrize(
    ("names", "task"),
    [
        (["text", "label"], "sentiment"),
        (["review", "stars"], "sentiment"),
        (["question", "label"], "sentiment"),
        (["x", "y"], "sentiment"),
        (["question", "answer"], "shoe_qa"),
        (["prompt", "response", "id"], "shoe_qa"),
        (["question", "answer", "category"], "shoe_qa"),
        (["question", "answer", "content", "category"], "shoe_qa"),  # usual names before others
        (["text", "label", "input", "output"], "sentiment"),
    ],
)
def test_the_names_tell(names: list[str], task: str) -> None:
    assert choice(*names).task == task
    assert (choice(*names).chat is None) == (task == "sentiment")


@pytest.mark.parametrize("names", [["text", "label", "question", "answer"], ["review", "stars", "prompt", "response"]])
def test_two_tasks_that_fit_alike_are_asked_about(names: list[str]) -> None:
    with pytest.raises(
        DataError, match=r"it fits two tasks: sentiment needs .* shoe_qa needs .*Say which is meant: --task"
    ):
        choice(*names)
    assert choice(*names, task="sentiment").chat is None
    assert choice(*names, task="shoe_qa").chat is not None


def test_no_task_that_fits_says_what_each_needs() -> None:
    with pytest.raises(
        DataError, match=r"sentiment needs .* shoe_qa needs .* the columns are 'n', 'body of it'"
    ) as error:
        choice("n", "body of it", distinct=40)
    assert "data.columns.label" in str(error.value), "and what is missing for labelled text"
    with pytest.raises(DataError, match="shoe_qa needs question and answer"):
        choice("only", task="shoe_qa")


def test_a_named_task_takes_names_that_say_nothing() -> None:
    chosen = choice("frage", "antwort", task="shoe_qa", distinct=40).chat
    assert chosen is not None
    assert chosen.renamed == {"question": "frage", "answer": "antwort"}
