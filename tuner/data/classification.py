"""Rows of text with a class, and the three splits of a classification task, from any source.

Labels may be whole numbers, numbers in quotes, names that `data.labels` maps, or one of the pairs everybody uses.
Whether the rows are any good is `validate.py`'s question, not asked here.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tuner.config import DataConfig
from tuner.data.load import complete, load_tables
from tuner.data.table import Table
from tuner.errors import DataError, Problem

# Pairs that mean the same to everybody, class 0 first.
KNOWN_PAIRS: tuple[tuple[str, str], ...] = (
    ("negative", "positive"),
    ("neg", "pos"),
    ("false", "true"),
    ("no", "yes"),
    ("bad", "good"),
    ("负面", "正面"),
    ("消极", "积极"),
    ("差评", "好评"),
)
_SHOWN = 10


@dataclass(frozen=True, slots=True)
class Row:
    """One text with its class. `where` is its place for a person: "reviews.csv line 12"."""

    text: str
    label: int
    where: str


@dataclass(frozen=True)
class Splits:
    """The rows of a classification task. `notes` are sentences for the log; `label_names` are the classes' names in
    order, empty where the data has only numbers."""

    train: tuple[Row, ...]
    validation: tuple[Row, ...]
    test: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    label_names: tuple[str, ...] = ()

    def named(self) -> dict[str, tuple[Row, ...]]:
        """The splits by name, train first."""
        return {"train": self.train, "validation": self.validation, "test": self.test}


def identity(text: str) -> str:
    """What makes two texts the same: letters without case and spacing, in one Unicode form."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def load_splits(
    config: DataConfig, task_columns: Mapping[str, str], embedded: Callable[[], Splits] | None = None
) -> Splits:
    """The three splits that a config names, cut and sampled as it says; the same config gives the same rows.

    `task_columns` maps "text" and "label" to the columns they usually have; `embedded` gives the project's own data.
    Raises DataError with all that is wrong.
    """
    if config.source == "embedded" and not (config.train or config.validation or config.test):
        if embedded is None:
            cure = "Name a file, a folder or a hub id."
            raise DataError(Problem("data.source", "embedded", "this task has no data of its own", cure))
        own = embedded()
        return _completed(own.train, own.validation, own.test, config, own.notes, own.label_names)
    tables = load_tables(config, task_columns)
    notes = list(tables.notes)
    parts = {"train": tables.train, "validation": tables.validation, "test": tables.test}
    for split in ("validation", "test"):
        table = parts[split]
        # The hub publishes many test splits with -1 for every label.
        if table is not None and table.rows and all(str(row["label"]) == "-1" for row in table.rows):
            notes.append(f"{split}: {table.name} has no labels (all are -1), so it is not used.")
            parts[split] = None
    there = [table for table in parts.values() if table is not None]
    mapping, names = _mapping(there, config.labels)
    problems: list[Problem] = []
    rows = {split: None if t is None else _rows(t, mapping, problems) for split, t in parts.items()}
    if problems:
        raise DataError(problems)
    return _completed(rows["train"] or (), rows["validation"], rows["test"], config, tuple(notes), names)


def _completed(
    train: Sequence[Row],
    validation: Sequence[Row] | None,
    test: Sequence[Row] | None,
    config: DataConfig,
    notes: tuple[str, ...],
    names: tuple[str, ...],
) -> Splits:
    done = complete(train, validation, test, config, lambda row: row.label, lambda row: identity(row.text))
    return replace(Splits(*done), notes=(*notes, *done[3]), label_names=names)


def _whole(value: Any) -> int | None:
    """A class number, from 1, "1", 1.0, "1.0" or True; None if it is no whole number."""
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return int(number) if number.is_integer() and abs(number) < 1e6 else None


def _key(value: Any) -> str:
    return str(value).strip().casefold()


def _is_blank(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _mapping(tables: Sequence[Table], labels: Mapping[str, int] | None) -> tuple[dict[str, int], tuple[str, ...]]:
    """Class of each label value by its folded text, and the classes' names. Raises DataError where there is none."""
    counts: Counter[str] = Counter()
    shown: dict[str, str] = {}
    for table in tables:
        for row in table.rows:
            value = row["label"]
            if not _is_blank(value):
                counts[_key(value)] += 1
                shown.setdefault(_key(value), str(value).strip())
    if labels is not None:
        given = {_key(name): number for name, number in labels.items()}
        # 1 in the mapping is also the file's 1.0.
        wanted = {value: given.get(value, given.get(str(_whole(value)))) for value in counts}
        unknown = [shown[value] for value, number in wanted.items() if number is None]
        if unknown:
            rule = f"the data has labels that are not in it: {_listed(unknown, counts)}"
            raise DataError(Problem("data.labels", dict(labels), rule, "Add them, each with its class number."))
        names = {number: str(name) for name, number in reversed(list(labels.items()))}
        ordered = tuple(names.get(number, str(number)) for number in range(max(names, default=-1) + 1))
        return {value: number for value, number in wanted.items() if number is not None}, ordered
    numbers = {value: _whole(value) for value in counts}
    if not any(number is None for number in numbers.values()):
        return {value: number for value, number in numbers.items() if number is not None}, ()
    for pair in KNOWN_PAIRS:
        if set(counts) <= set(pair):
            return {name: number for number, name in enumerate(pair)}, pair
    listed = _listed(list(shown.values()), counts)
    example = ", ".join(f"{value}: {number}" for number, value in enumerate(sorted(shown.values())[:2]))
    cure = f"Say which class each is, for example labels: {{{example}}}."
    if len(counts) > _SHOWN:
        cure = "Is this the label column? Name it in data.columns.label, or map every value in data.labels."
    raise DataError(Problem("data.labels", None, f"the labels are names whose classes are not known: {listed}", cure))


def _listed(values: Sequence[str], counts: Mapping[str, int]) -> str:
    listed = ", ".join(f"{value[:40]!r} ({counts[_key(value)]} rows)" for value in values[:_SHOWN])
    return listed + (f" and {len(values) - _SHOWN} more" if len(values) > _SHOWN else "")


def _rows(table: Table, mapping: Mapping[str, int], problems: list[Problem]) -> tuple[Row, ...]:
    rows: list[Row] = []
    unlabelled: list[str] = []
    untexted: list[str] = []
    for index, cells in enumerate(table.rows):
        text, label = cells["text"], cells["label"]
        if isinstance(text, list | dict):
            untexted.append(table.where(index))
        elif _is_blank(label):
            unlabelled.append(table.where(index))
        else:
            words = "" if text is None else str(text).strip()
            rows.append(Row(words, mapping[_key(label)], table.where(index)))
    if unlabelled:
        rule = f"{len(unlabelled)} rows have no label: {_places(unlabelled)}"
        problems.append(Problem(f"data ({table.name})", None, rule, "Label them or delete them."))
    if untexted:
        rule = f"{len(untexted)} rows have a list or an object where text should be: {_places(untexted)}"
        problems.append(Problem(f"data ({table.name})", None, rule, "Choose another column in data.columns.text."))
    return tuple(rows)


def _places(places: Sequence[str]) -> str:
    return ", ".join(places[:3]) + (" ..." if len(places) > 3 else "")
