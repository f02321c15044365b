"""Table: rows as read, whatever the task, each knowing the line it came from.

Knows nothing of files or labels. A cell is whatever the file held: always a string in csv and tsv, any JSON value else.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tuner.errors import DataError, Problem

# What people call the columns that tasks ask for: used to propose a cure and, in rows that fill no format
# of conversations, to read what a note then names; never to choose silently.
SYNONYMS: Mapping[str, tuple[str, ...]] = {
    "text": ("sentence", "review", "content", "comment", "body", "message", "tweet", "document", "评论", "文本"),
    "label": ("sentiment", "target", "class", "category", "polarity", "y", "stars", "rating", "标签"),
    "question": ("instruction", "prompt", "query", "input", "user", "问题", "問題"),
    "answer": ("output", "response", "completion", "reply", "assistant", "回答", "答案"),
    "key_facts": ("facts", "keywords", "keyfacts", "key facts"),
    "category": ("topic", "class", "类别", "類別"),
    "conversations": ("conversation", "dialog", "dialogue", "chat", "turns"),
}


@dataclass(frozen=True)
class Table:
    """Rows of one file or hub split.

    `name` is how messages call the source; `numbers` are the line (or row, see `unit`) of each row, counted from 1.
    """

    name: str
    columns: tuple[str, ...]
    rows: tuple[Mapping[str, Any], ...]
    numbers: tuple[int, ...]
    unit: str = "line"

    def __len__(self) -> int:
        return len(self.rows)

    def where(self, index: int) -> str:
        """The place of a row for a person: "reviews.csv line 12"."""
        return f"{self.name} {self.unit} {self.numbers[index]}"

    def select(self, columns: Mapping[str, str], name: str = "data") -> Table:
        """Only these columns, under their task names (`columns` maps task name to column name).

        `name` is the config path for messages. Raises DataError naming every missing column, those there, and a guess.
        """
        problems = [
            self._missing(field, column, name) for field, column in columns.items() if column not in self.columns
        ]
        if problems:
            raise DataError(problems)
        rows = tuple({field: row.get(column) for field, column in columns.items()} for row in self.rows)
        return replace(self, columns=tuple(columns), rows=rows)

    def _missing(self, field: str, column: str, name: str) -> Problem:
        there = ", ".join(repr(known) for known in self.columns) or "none"
        guess = guess_column(field, column, self.columns)
        rule = f"{self.name} has no such column; its columns are {there}"
        cure = f"Say which column holds the {field}: columns: {{{field}: {guess or 'NAME'}}}."
        return Problem(f"{name}.columns.{field}", column, rule, cure)


def guess_column(field: str, wanted: str, there: Sequence[str]) -> str | None:
    """The column that was probably meant, or None."""
    folded = {column.casefold().strip(): column for column in there}
    for candidate in (wanted.casefold(), field.casefold(), *SYNONYMS.get(field, ())):
        if candidate in folded:
            return folded[candidate]
    close = difflib.get_close_matches(wanted.casefold(), list(folded), n=1)
    return folded[close[0]] if close else None
