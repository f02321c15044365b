"""The lines of a text file as UTF-8, or one error that names the line: bad bytes, NUL, UTF-16, a line without end.

Reads line by line with a limit, so that memory never holds more than one line. Knows nothing of what the lines mean.
"""

from __future__ import annotations

import codecs
import shlex
from collections.abc import Iterator
from pathlib import Path

from tuner.errors import DataError, Problem

# No row of text data is longer; a longer line is a file without line ends or one that is not text.
MAX_LINE_BYTES = 1_048_576
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def read_lines(path: Path, name: str = "data") -> Iterator[tuple[int, str]]:
    """Number (from 1) and text of each line, line end included, a byte order mark removed.

    `name` is the config path for messages. Raises DataError.
    """
    require_file(path, name)
    offset = 0
    try:
        with path.open("rb") as file:
            number = 0
            while raw := file.readline(MAX_LINE_BYTES + 1):
                number += 1
                if number == 1:
                    raw = _without_mark(raw, path, name)
                if len(raw) > MAX_LINE_BYTES:
                    rule = f"line {number} is longer than {MAX_LINE_BYTES:,} bytes, the most a line may have"
                    raise DataError(Problem(name, str(path), rule, "Check that the file has line ends and is text."))
                yield number, decode(raw, path, number, offset, name)
                offset += len(raw)
    except OSError as error:
        raise unreadable(path, name, error) from error


def decode(raw: bytes, path: Path, number: int | None, offset: int, name: str) -> str:
    """UTF-8 text of some bytes that start at `offset` of the file; `number` is their line, None for a whole file."""
    if b"\0" in raw:
        place = _place(raw, raw.index(b"\0"), number, offset)
        rule = f"{place} is NUL: the file is not text, or was damaged while it was copied"
        raise DataError(Problem(name, str(path), rule, "Export the file again."))
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        place = _place(raw, error.start, number, offset)
        cure = _convert(path, _likely_encoding(raw))
        raise DataError(Problem(name, str(path), f"{place} is not UTF-8", cure)) from error


def require_file(path: Path, name: str) -> None:
    """Raises DataError unless this is a regular file that is not empty."""
    try:
        if path.is_dir():
            cure = "Name a file in it; a folder can only be data.source, with files train, validation, test."
            raise DataError(Problem(name, str(path), "this is a folder, not a file", cure))
        if not path.is_file():
            what = "this is not a regular file" if path.exists() else "there is no such file"
            raise DataError(Problem(name, str(path), what, f"Looked in {path.absolute().parent}; check the name."))
        if path.stat().st_size == 0:
            raise DataError(Problem(name, str(path), "the file is empty", "Export it again with a header and rows."))
    except OSError as error:
        raise unreadable(path, name, error) from error


def unreadable(path: Path, name: str, error: OSError) -> DataError:
    """What the system said about a file, as a DataError."""
    reason = (error.strerror or str(error)).lower()
    return DataError(Problem(name, str(path), f"the file cannot be read: {reason}", "Check its name and permissions."))


def _without_mark(raw: bytes, path: Path, name: str) -> bytes:
    if raw.startswith(_UTF16):
        raise DataError(Problem(name, str(path), "the file is UTF-16, not UTF-8", _convert(path, "UTF-16")))
    return raw.removeprefix(codecs.BOM_UTF8)


def _convert(path: Path, encoding: str) -> str:
    return f"Convert the file: iconv -f {encoding} -t UTF-8 {shlex.quote(str(path))} > utf8{path.suffix}"


def _place(raw: bytes, position: int, number: int | None, offset: int) -> str:
    line = raw[:position].count(b"\n") + 1 if number is None else number
    column = position - (raw.rfind(b"\n", 0, position) if number is None else -1)
    return f"line {line}, byte {column} (byte {offset + position + 1:,} of the file)"


def _likely_encoding(raw: bytes) -> str:
    """GB18030 where the bytes read as Chinese in it, else Windows-1252: the two that are met."""
    try:
        text = raw.decode("gb18030")
    except UnicodeDecodeError:
        return "WINDOWS-1252"
    high = [character for character in text if character > "\x7f"]
    return "GB18030" if all("\u4e00" <= c <= "\u9fff" or "\u3000" <= c <= "\uffef" for c in high) else "WINDOWS-1252"
