"""Which task a user's table is for, as the names of its columns say it, and what each task needs where they do not.

A guess for `tuner init`, which lets the user overrule it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tuner.data.chat_columns import OTHER_NAMES, USUAL_NAMES, ChatColumns, named_chat, placed_chat
from tuner.data.columns import Column, guess_fields
from tuner.data.table import SYNONYMS, Table
from tuner.errors import DataError, Problem

TASKS = ("sentiment", "shoe_qa")
_LABELLED = "sentiment needs a column of texts and one of few values that come again and again (text and label)"
_CHAT = "shoe_qa needs question and answer, instruction and output, or conversations or messages that hold lists"


@dataclass(frozen=True)
class Choice:
    """`chat` are the columns of a question-answer table, None for the task "sentiment"."""

    task: str
    chat: ChatColumns | None


def choose(table: Table, columns: Sequence[Column], task: str | None = None) -> Choice:
    """The task of a table with these columns: `task` where it is given, else that whose usual names are there, before
    that whose other names are, which people use as well. Raises DataError naming what each task needs if both fit
    alike, or neither."""
    if task == "sentiment":
        return Choice(task, None)
    chat = named_chat(table)
    if task is not None:
        chat = chat or placed_chat(table, columns)
        if chat is None:
            raise DataError(_unfit(table, _CHAT, "Give the columns these names in the file."))
        return Choice(task, chat)
    labelled = _labelled_by_name(table)
    if chat is not None and chat.sure == labelled:
        cure = "Say which is meant: --task sentiment or --task shoe_qa."
        raise DataError(_unfit(table, f"it fits two tasks: {_LABELLED}, and {_CHAT}", cure))
    if chat is not None and chat.sure > labelled:
        return Choice("shoe_qa", chat)
    try:
        guess_fields(table, columns)
    except DataError as error:
        cure = "Give the columns these names in the file, or say which task is meant with --task."
        raise DataError([*error.problems, _unfit(table, f"it fits no task: {_LABELLED}; {_CHAT}", cure)]) from error
    return Choice("sentiment", None)


def _labelled_by_name(table: Table) -> int:
    """How much the names speak of labelled text: `USUAL_NAMES`, `OTHER_NAMES`, or 0."""
    there = {name.casefold().strip() for name in table.columns}
    found = [
        USUAL_NAMES if field in there else OTHER_NAMES if there.intersection(SYNONYMS[field]) else 0
        for field in ("text", "label")
    ]
    return min(found)


def _unfit(table: Table, rule: str, cure: str) -> Problem:
    there = ", ".join(map(repr, table.columns)) or "none"
    return Problem(f"data ({table.name})", None, f"{rule}; the columns are {there}", cure)
