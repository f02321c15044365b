"""What the columns of a user's table hold, and which of them are probably the text and the label.

A guess for `tuner init` to write down where the user can see and change it; nothing else acts on it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from tuner.data.table import SYNONYMS, Table
from tuner.errors import DataError, Problem

# More values than this are not classes but numbers, dates or names.
MAX_CLASSES = 20


@dataclass(frozen=True)
class Column:
    """One column. Lengths are in characters; `values` holds the most frequent values with their rows, at most 21 of
    them; `type` is "text" (strings with spaces or many letters), "number", "name" (short strings) or "nested"."""

    name: str
    type: str
    distinct: int
    empty: int
    mean_length: float
    p95_length: int
    values: dict[str, int]


def profile(table: Table) -> list[Column]:
    """Every column of a table, in its order."""
    return [_column(name, [row.get(name) for row in table.rows]) for name in table.columns]


def guess_fields(table: Table, columns: Sequence[Column], name: str = "data") -> tuple[Column, Column]:
    """The text column (the longest strings) and the label column (few distinct values, a telling name first).
    Raises DataError naming what each column holds if there is no candidate."""
    known = {field: (field, *SYNONYMS[field]) for field in ("text", "label")}
    texts = [column for column in columns if column.type in ("text", "name") and column.distinct > 1]
    text = max(texts, key=lambda column: column.mean_length, default=None)
    labels = [
        column
        for column in columns
        if column is not text and column.type != "nested" and 2 <= column.distinct <= min(MAX_CLASSES, len(table) // 2)
    ]
    label = min(labels, key=lambda c: (c.name.casefold() not in known["label"], c.distinct), default=None)
    if text is not None and label is not None:
        return text, label
    seen = "; ".join(f"{c.name!r}: {c.type}, {c.distinct} distinct, {c.mean_length:.0f} characters" for c in columns)
    problems = []
    if text is None:
        rule = f"no column of {table.name} holds text ({seen})"
        problems.append(Problem(f"{name}.columns.text", None, rule, "Add a column with the texts."))
    if label is None:
        rule = f"no column of {table.name} has a few values that come again and again ({seen})"
        problems.append(Problem(f"{name}.columns.label", None, rule, "Add a column with the class of each text."))
    raise DataError(problems)


def _column(name: str, cells: Sequence[object]) -> Column:
    there = [cell for cell in cells if cell is not None and str(cell).strip()]
    if any(isinstance(cell, list | dict) for cell in there):
        return Column(name, "nested", 0, len(cells) - len(there), 0.0, 0, {})
    texts = [str(cell).strip() for cell in there]
    lengths = sorted(map(len, texts)) or [0]
    mean = sum(lengths) / len(lengths)
    counts = Counter(texts)
    if all(_is_number(text) for text in texts):
        kind = "number"
    else:
        kind = "text" if mean > 30 or sum(" " in text for text in texts) * 2 > len(texts) else "name"
    p95 = lengths[min(len(lengths) - 1, int(0.95 * len(lengths)))]
    common = dict(counts.most_common(MAX_CLASSES + 1))
    return Column(name, kind, len(counts), len(cells) - len(there), mean, p95, common)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
