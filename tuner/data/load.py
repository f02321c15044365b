"""From a DataConfig to Tables: which file, folder or hub split is train, validation and test, in the task's names.

Knows nothing of what a field means; `classification.py` (and later tasks) builds rows of a task on top. What is not
there stays None here: `complete` cuts it from train once the rows are known.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from tuner.config import DataConfig
from tuner.data.formats import DATA_EXTENSIONS, read_table
from tuner.data.hub import is_hub_id, load_hub
from tuner.data.split import cut, sample
from tuner.data.table import Table
from tuner.errors import DataError, Problem

RowT = TypeVar("RowT")

_STEMS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test",),
}


@dataclass(frozen=True)
class Tables:
    """The splits that a source holds. `notes` are sentences for the log."""

    train: Table
    validation: Table | None = None
    test: Table | None = None
    notes: tuple[str, ...] = ()


def load_rows(path: Path, columns: Mapping[str, str] | None = None, name: str = "data") -> Table:
    """The rows of one file, in its order. `columns` maps the task's names to the file's (None keeps all, as they are);
    `name` is the config path for messages. Raises DataError."""
    table = read_table(path, name)
    return table if columns is None else table.select(columns, name)


def load_tables(config: DataConfig, task_columns: Mapping[str, str]) -> Tables:
    """The splits of every source but "embedded". `task_columns` are the task's fields with their usual columns, which
    `config.columns` renames. Raises DataError with all that is wrong."""
    found, notes, problems = find_tables(config, task_columns)
    columns = {**task_columns, **config.columns}
    for split, table in found.items():
        try:
            found[split] = table.select(columns)
        except DataError as error:
            problems.extend(error.problems)
    if problems:
        raise DataError(dict.fromkeys(problems))
    return Tables(found["train"], found.get("validation"), found.get("test"), tuple(notes))


def find_tables(config: DataConfig, fields: Collection[str]) -> tuple[dict[str, Table], list[str], list[Problem]]:
    """The tables by split with every column kept, sentences for the log, and the mistakes so far, to which a caller may
    add its own before it raises them: there is a train table if there are none. `fields` are those that
    `config.columns` may rename. Raises DataError if the config contradicts itself."""
    problems = _contradictions(config, fields)
    if problems:
        raise DataError(problems)
    named = {"train": config.train, "validation": config.validation, "test": config.test}
    found: dict[str, Table] = {}
    notes: list[str] = []
    if config.train is None:
        found, notes = _from_source(config.source, problems)
    for split, path in named.items():
        if path is not None:
            try:
                found[split] = read_table(path, f"data.{split}")
            except DataError as error:
                problems.extend(error.problems)
    return found, notes, problems


def _contradictions(config: DataConfig, fields: Collection[str]) -> list[Problem]:
    problems = [
        Problem(f"data.columns.{field}", column, "the task has no such field", f"Use: {', '.join(fields)}.")
        for field, column in config.columns.items()
        if field not in fields
    ]
    if config.train is not None and config.source != "embedded":
        cure = "Leave one of the two out."
        problems.append(Problem("data.train", str(config.train), f"data.source is {config.source!r} as well", cure))
    if config.train is None and config.source == "embedded":
        given = config.validation or config.test
        rule = "a validation or test file goes with a train file, and the source is the embedded data"
        problems.append(Problem("data.train", None, rule, f"Name the train file that belongs to {given}."))
    return problems


def _from_source(source: str, problems: list[Problem]) -> tuple[dict[str, Table], list[str]]:
    """Tables of a file, a folder or a hub id. Mistakes go to `problems`."""
    path = Path(source)
    try:
        if path.is_dir():
            return folder_tables(path), []
        if path.exists() or not is_hub_id(source) or path.suffix.lower() in DATA_EXTENSIONS | {".txt"}:
            return {"train": read_table(path, "data.source")}, []
        return _from_hub(source)
    except DataError as error:
        problems.extend(error.problems)
    except OSError as error:  # a name too long for the system
        problems.append(Problem("data.source", source, f"it cannot be read: {error.strerror}", "Check the name."))
    return {}, []


def folder_tables(folder: Path) -> dict[str, Table]:
    """The files of a folder that are called train, validation (valid, val, dev) and test, every column kept.
    Raises DataError if there is no train file, or two files for one split."""
    files = sorted(file for file in folder.iterdir() if file.suffix.lower() in DATA_EXTENSIONS and file.is_file())
    chosen = {split: [file for file in files if file.stem.lower() in stems] for split, stems in _STEMS.items()}
    problems = [
        Problem("data.source", str(folder), f"{split} is there more than once: {_names(several)}", "Keep one of them.")
        for split, several in chosen.items()
        if len(several) > 1
    ]
    if not chosen["train"]:
        rule = f"the folder has no file called train (.csv, .tsv, .json, .jsonl); its data files are {_names(files)}"
        problems.append(Problem("data.source", str(folder), rule, "Rename one to train, or name it in data.train."))
    tables = {}
    for split, several in chosen.items():
        if len(several) == 1:
            try:
                tables[split] = read_table(several[0], "data.source")
            except DataError as error:
                problems.extend(error.problems)
    if problems:
        raise DataError(problems)
    return tables


def _from_hub(source: str) -> tuple[dict[str, Table], list[str]]:
    there = load_hub(source)
    found = {split: there[stem] for split, stems in _STEMS.items() for stem in reversed(stems) if stem in there}
    if "train" not in found:
        rule = f"the data set has no split called train; it has {', '.join(map(repr, there))}"
        raise DataError(Problem("data.source", source, rule, "Download it and name its files one by one."))
    unused = sorted(set(there) - {stem for stems in _STEMS.values() for stem in stems})
    return found, [f"{source}: splits not used: {', '.join(unused)}."] if unused else []


def _names(files: Sequence[Path]) -> str:
    return ", ".join(repr(file.name) for file in files[:8]) or "none"


def complete(
    train: Sequence[RowT],
    validation: Sequence[RowT] | None,
    test: Sequence[RowT] | None,
    config: DataConfig,
    stratum: Callable[[RowT], Hashable],
    identity: Callable[[RowT], Hashable],
) -> tuple[tuple[RowT, ...], tuple[RowT, ...], tuple[RowT, ...], tuple[str, ...]]:
    """All three splits and notes: those that are None are cut from train, then each is sampled down to what the config
    asks for. Stratified by `stratum`, seeded by `split_seed`; rows of one `identity` are never cut apart."""
    notes: list[str] = []
    strata = [stratum(row) for row in train]
    shares = {"validation": config.validation_share, "test": config.test_share}
    missing = [split for split, rows in (("validation", validation), ("test", test)) if rows is None]
    kinds = len(set(strata))
    # A cut part holds a row of each class as soon as four of each are there: one that lacks a class measures nothing.
    least = kinds if len(train) >= 4 * kinds else 1
    sizes = [max(round(shares[split] * len(train)), least) for split in missing]
    parts = cut(strata, sizes, config.split_seed, [identity(row) for row in train])
    splits: dict[str, list[RowT]] = {
        "train": [train[index] for index in parts[0]],
        "validation": list(validation or ()),
        "test": list(test or ()),
    }
    for split, part in zip(missing, parts[1:], strict=True):
        splits[split] = [train[index] for index in part]
        notes.append(f"{split}: {len(part)} rows cut from train (stratified, split_seed {config.split_seed}).")
    for split, rows in splits.items():
        wanted = getattr(config, f"{split}_samples")
        if wanted is not None and wanted > len(rows):
            notes.append(f"{split}: {wanted} rows were asked for and there are {len(rows)}; all are used.")
        elif wanted is not None:
            chosen = sample([stratum(row) for row in rows], wanted, config.split_seed)
            splits[split] = [rows[index] for index in chosen]
    return tuple(splits["train"]), tuple(splits["validation"]), tuple(splits["test"]), tuple(notes)
