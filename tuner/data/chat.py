"""The three splits of a chat task, from any source; whatever format a table has, its rows become `ChatRow`s.

Whether the rows are any good is `validate_chat.py`'s question, not asked here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from tuner.config import DataConfig
from tuner.data.chat_formats import USUAL, Conversation, read_conversations
from tuner.data.chat_row import ChatRow, Turn, sameness
from tuner.data.load import complete, find_tables
from tuner.data.table import Table, guess_column
from tuner.errors import DataError, Problem

__all__ = ["ChatRow", "ChatSplits", "Turn", "load_chats"]


@dataclass(frozen=True)
class ChatSplits:
    """The rows of a chat task. `notes` are sentences for the log."""

    train: tuple[ChatRow, ...]
    validation: tuple[ChatRow, ...]
    test: tuple[ChatRow, ...]
    notes: tuple[str, ...] = ()

    def named(self) -> dict[str, tuple[ChatRow, ...]]:
        """The splits by name, train first."""
        return {"train": self.train, "validation": self.validation, "test": self.test}


def load_chats(config: DataConfig, embedded: Callable[[], ChatSplits] | None = None) -> ChatSplits:
    """The three splits that a config names, cut and sampled as it says; the same config gives the same rows.

    Rows of one conversation, and rows that are the same by `sameness`, are never cut apart. `config.columns` renames
    the fields of `chat_formats.USUAL`; `embedded` gives the project's own data. Raises DataError with all that is
    wrong.
    """
    if config.source == "embedded" and not (config.train or config.validation or config.test):
        if embedded is None:
            cure = "Name a file, a folder or a hub id."
            raise DataError(Problem("data.source", "embedded", "this task has no data of its own", cure))
        own = embedded()
        return _completed([(row,) for row in own.train], own.validation, own.test, config, own.notes)
    tables, notes, problems = find_tables(config, USUAL)
    if config.labels is not None:
        rule = "question-answer rows have no labels to map"
        problems.append(Problem("data.labels", config.labels, rule, "Leave it out."))
    if not problems:
        problems.extend(_in_no_table(tables, config.columns))
    talks = {split: read_conversations(table, config.columns, problems, notes) for split, table in tables.items()}
    if problems:
        raise DataError(problems)
    rows = {split: tuple(row for talk in found for row in talk) for split, found in talks.items()}
    return _completed(talks["train"], rows.get("validation"), rows.get("test"), config, tuple(notes))


def _in_no_table(tables: Mapping[str, Table], renamed: Mapping[str, str]) -> list[Problem]:
    """A name that only some tables have is none: the splits of one source may have different formats."""
    problems = []
    there = list(dict.fromkeys(column for table in tables.values() for column in table.columns))
    for field, column in renamed.items():
        if column not in there:
            rule = f"the data has no such column; its columns are {', '.join(map(repr, there))}"
            guess = guess_column(field, column, there) or "NAME"
            cure = f"Say which column holds the {field}: columns: {{{field}: {guess}}}."
            problems.append(Problem(f"data.columns.{field}", column, rule, cure))
    return problems


def _completed(
    train: Sequence[Conversation],
    validation: Sequence[ChatRow] | None,
    test: Sequence[ChatRow] | None,
    config: DataConfig,
    notes: tuple[str, ...],
) -> ChatSplits:
    groups = _groups(train)
    rows = [row for talk in train for row in talk]
    done = complete(rows, validation, test, config, lambda row: row.category or row.language, groups.__getitem__)
    return replace(ChatSplits(*done), notes=(*notes, *done[3]))


def _groups(talks: Sequence[Conversation]) -> dict[ChatRow, int]:
    """The group of each row: rows of one conversation are of one group, and so are rows with a common `sameness`,
    whatever number of steps lies between them."""
    parents = list(range(len(talks)))

    def root(number: int) -> int:
        while parents[number] != number:
            parents[number] = parents[parents[number]]
            number = parents[number]
        return number

    first: dict[tuple[str, ...], int] = {}
    for number, talk in enumerate(talks):
        for row in talk:
            for key in sameness(row):
                one, other = sorted((root(first.setdefault(key, number)), root(number)))
                parents[other] = one
    # Equal rows have equal keys, or no question at all: then they may lie in any of their groups.
    return {row: root(number) for number, talk in enumerate(talks) for row in talk}
