"""Reading csv, tsv, json and jsonl files into Tables, every cell kept; broken files become errors that name the line.

The extension says the format; without a known one the first line does. Knows nothing of tasks or labels.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from tuner.data.lines import decode, read_lines, require_file, unreadable
from tuner.data.table import Table
from tuner.errors import DataError, Problem

# A json file is one value and must be in memory at once; jsonl, csv and tsv are read line by line.
MAX_JSON_BYTES = 268_435_456
# The most characters a cell may have; it is also the csv module's own limit, which a quote that never closes runs into.
MAX_FIELD_CHARS = 131_072
_SHOWN = 5


def read_table(path: Path, name: str = "data") -> Table:
    """All rows and columns of a file. `name` is the config path for messages. Raises DataError."""
    require_file(path, name)
    extension = path.suffix.lower()
    if extension in _UNSUPPORTED:
        cure = "Save it as csv, tsv, json or jsonl (UTF-8)."
        raise DataError(Problem(name, str(path), f"{extension} files cannot be read", cure))
    reader = _READERS.get(extension) or _sniff(path, name)
    table = reader(path, name)
    if not table.rows:
        raise DataError(Problem(name, str(path), "the file has a header but no rows", "Export it again with its rows."))
    return table


def _sniff(path: Path, name: str) -> Callable[[Path, str], Table]:
    for _, line in read_lines(path, name):
        if start := line.strip():
            if start[0] == "[" or start == "{":
                return _read_json
            if start[0] == "{":
                return _read_jsonl
            return _read_tsv if "\t" in line else _read_csv
    return _read_csv


def _read_csv(path: Path, name: str) -> Table:
    first = next((line for _, line in read_lines(path, name) if line.strip()), "")
    # Spreadsheets in much of Europe write semicolons; a header tells, since a name rarely holds one.
    delimiter = max(",;\t|", key=first.count)
    return _quoted(path, name, delimiter)


def _quoted(path: Path, name: str, delimiter: str) -> Table:
    reader = csv.reader((line for _, line in read_lines(path, name)), delimiter=delimiter, strict=True)

    def records() -> Iterator[tuple[int, list[str]]]:
        line = 1
        try:
            for cells in reader:
                if cells:
                    yield line, cells
                line = reader.line_num + 1
        except csv.Error as error:
            rule = f"the row that begins on line {line} cannot be read: {_plain(error)}"
            cure = 'Put cells that hold commas, quotes or line ends in "double quotes" and double the quotes inside.'
            raise DataError(Problem(name, str(path), rule, cure)) from error

    return _with_header(path, name, records())


def _plain(error: csv.Error) -> str:
    said = str(error)
    if "field limit" in said:
        return f"a cell is longer than {MAX_FIELD_CHARS:,} characters, or its quote is never closed"
    if "unexpected end" in said:
        return "its quote is never closed"
    if "new-line" in said:
        return "it holds a bare carriage return (old Mac line ends)"
    return said


def _read_tsv(path: Path, name: str) -> Table:
    """Two dialects are about: one escapes nothing, and a quote is a quote (SST-2, GLUE); the other quotes as csv does.
    Where every line has as many cells as the header, the file is of the first, or of the second with no line ends or
    tabs in cells, and reading line by line suits both."""
    plain = [(n, line.rstrip("\r\n").split("\t")) for n, line in read_lines(path, name) if line.strip("\r\n")]
    ragged = any(len(cells) != len(plain[0][1]) for _, cells in plain)
    if ragged and any('"' in cell for _, cells in plain for cell in cells):
        return _quoted(path, name, "\t")
    return _with_header(path, name, ((number, [_unquoted(cell) for cell in cells]) for number, cells in plain))


def _unquoted(cell: str) -> str:
    inner = cell[1:-1]
    if len(cell) >= 2 and cell[0] == cell[-1] == '"' and '"' not in inner.replace('""', ""):
        return inner.replace('""', '"')
    return cell


def _with_header(path: Path, name: str, records: Iterable[tuple[int, list[str]]]) -> Table:
    stream = iter(records)
    _, header = next(stream, (0, []))
    # Spreadsheets break long headings over lines; a name that has to be typed cannot.
    columns = tuple(" ".join(cell.split()) or f"column {number}" for number, cell in enumerate(header, 1))
    repeated = sorted({column for column in columns if columns.count(column) > 1})
    if repeated:
        rule = f"the header names {', '.join(map(repr, repeated))} more than once"
        raise DataError(Problem(name, str(path), rule, "Rename the columns so that each name stands once."))
    rows, numbers, ragged = [], [], []
    for number, cells in stream:
        if len(cells) != len(columns):
            ragged.append((number, len(cells)))
        elif any(len(cell) > MAX_FIELD_CHARS for cell in cells):
            raise _field_too_long(path, name, "line", number)
        else:
            rows.append(dict(zip(columns, cells, strict=True)))
            numbers.append(number)
    if ragged:
        places = ", ".join(f"line {line} has {count}" for line, count in islice(ragged, 3))
        rule = f"{len(ragged)} rows do not have the header's {len(columns)} cells: {places}"
        raise DataError(Problem(name, str(path), rule, 'Put cells that hold the separator in "double quotes".'))
    return Table(path.name, columns, tuple(rows), tuple(numbers))


def _read_jsonl(path: Path, name: str) -> Table:
    records: list[tuple[int, Any]] = []
    problems: list[Problem] = []
    last = 0
    for number, line in read_lines(path, name):
        if not line.strip():
            continue
        last = number
        try:
            records.append((number, json.loads(line)))
        except (ValueError, RecursionError) as error:
            problems.append(Problem(name, str(path), f"line {number} is not JSON: {_said(error)}", "Correct the line."))
    if problems and problems[-1].rule.startswith(f"line {last} ") and len(problems) == 1:
        rule = problems[0].rule + "; it is the last line, so the file was probably cut off"
        problems = [Problem(name, str(path), rule, "Copy the file again, or delete that line.")]
    if len(problems) > _SHOWN:
        rest = Problem(name, str(path), f"{len(problems) - _SHOWN} more lines are not JSON", "Is it a jsonl file?")
        problems = [*problems[:_SHOWN], rest]
    if problems:
        raise DataError(problems)
    return _objects(path, name, records, "line")


def load_json(path: Path, name: str) -> Any:
    """The value in a JSON file. `name` is the config path for messages. Raises DataError."""
    try:
        size = path.stat().st_size
        if size > MAX_JSON_BYTES:
            rule = f"the file has {size:,} bytes, and a json file may have {MAX_JSON_BYTES:,}"
            raise DataError(Problem(name, str(path), rule, "Save it as jsonl, one object a line: that has no limit."))
        text = decode(path.read_bytes(), path, None, 0, name).removeprefix("\ufeff")
    except OSError as error:
        raise unreadable(path, name, error) from error
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        cure = "Correct it, or copy the file again if it was cut off."
        raise DataError(Problem(name, str(path), f"the file is not JSON: {_said(error)}", cure)) from error


def _read_json(path: Path, name: str) -> Table:
    try:
        value = load_json(path, name)
    except DataError as error:
        # Many files called .json hold one object a line.
        if isinstance(error.__cause__, json.JSONDecodeError) and error.__cause__.msg == "Extra data":
            return _read_jsonl(path, name)
        raise
    if isinstance(value, dict) and isinstance(value.get("data"), list):
        value = value["data"]
    elif isinstance(value, dict) and value and not any(isinstance(cell, list | dict) for cell in value.values()):
        value = [value]  # a file of one row
    elif isinstance(value, dict):
        keys = ", ".join(map(repr, islice(value, 8))) or "none"
        rule = f"the file holds one object without a list called 'data'; its keys are {keys}"
        raise DataError(Problem(name, str(path), rule, 'Use a list of objects or {"data": [objects]}.'))
    if not isinstance(value, list):
        rule = f"the file holds a {type(value).__name__}, not rows"
        raise DataError(Problem(name, str(path), rule, 'Use a list of objects or {"data": [objects]}.'))
    return _objects(path, name, list(enumerate(value, 1)), "row")


def _said(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        said = f"{error.msg[0].lower()}{error.msg[1:].removesuffix(' at')} at character {error.colno}"
        return f"{said} of line {error.lineno}" if "\n" in error.doc.strip() else said
    return "it is nested too deep" if isinstance(error, RecursionError) else str(error)


def _objects(path: Path, name: str, records: Sequence[tuple[int, Any]], unit: str) -> Table:
    columns: dict[str, None] = {}
    wrong = [number for number, value in records if not isinstance(value, dict)]
    if wrong:
        rule = f"{len(wrong)} rows are not objects, the first on {unit} {wrong[0]}"
        raise DataError(Problem(name, str(path), rule, 'Each row is like {"text": "...", "label": 1}.'))
    for number, value in records:
        columns.update(dict.fromkeys(value))
        if any(isinstance(cell, str) and len(cell) > MAX_FIELD_CHARS for cell in value.values()):
            raise _field_too_long(path, name, unit, number)
    rows = tuple(value for _, value in records)
    return Table(path.name, tuple(columns), rows, tuple(number for number, _ in records), unit)


def _field_too_long(path: Path, name: str, unit: str, number: int) -> DataError:
    rule = f"a cell on {unit} {number} is longer than {MAX_FIELD_CHARS:,} characters, the most a cell may have"
    return DataError(Problem(name, str(path), rule, "Shorten it or split it into several rows."))


_READERS: dict[str, Callable[[Path, str], Table]] = {
    ".csv": _read_csv,
    ".tsv": _read_tsv,
    ".json": _read_json,
    ".jsonl": _read_jsonl,
    ".ndjson": _read_jsonl,
}
_UNSUPPORTED = frozenset(
    (".parquet", ".arrow", ".xlsx", ".xls", ".ods", ".gz", ".zip", ".bz2", ".xz", ".zst", ".pkl", ".npy", ".pdf")
)
DATA_EXTENSIONS = frozenset(_READERS) | _UNSUPPORTED
