"""Where the caption of a picture comes from: a row of a file of captions, a text beside it, or the name of its class.

Reads text only; opens no picture. `choose` says which source a split has; one source wins for a whole split.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from tuner.data.formats import read_table
from tuner.data.image_layout import Kind, Layout
from tuner.data.lines import decode
from tuner.errors import DataError, Problem

# The fields of a file of captions, with the columns that usually hold them, the likeliest first.
USUAL: Mapping[str, tuple[str, ...]] = {
    "file_name": ("file_name", "filename", "file", "image", "path"),
    "caption": ("text", "caption", "prompt"),
    "label": ("label", "class", "category"),
}
# A caption beside a picture is a line or some; a longer file is something else.
MAX_TEXT_BYTES = 65_536


@dataclass(frozen=True)
class Entry:
    """One row of a file of captions. `path` is from the folder's root, None where the row names no picture; `caption`
    is None where it is not text; `where` is "metadata.jsonl line 3"."""

    path: PurePosixPath | None
    caption: str | None
    label: str | None
    where: str


def read_entries(root: Path, table_path: PurePosixPath, columns: Mapping[str, str], name: str) -> list[Entry]:
    """The rows of a file of captions, whose names of pictures count from its own folder. `columns` renames fields of
    `USUAL`. Raises DataError as `read_table` does, and for every column that is not there."""
    table = read_table(root / table_path, name)
    chosen = {field: columns.get(field) or _usual(field, table.columns) for field in USUAL}
    wanted = {f: column or USUAL[f][0] for f, column in chosen.items() if column or f != "label"}
    entries = []
    for index, row in enumerate(table.select(wanted, name).rows):
        named, label = row["file_name"], row.get("label")
        # Tables written on Windows have its separators.
        path = table_path.parent / named.strip().replace("\\", "/") if _is_name(named) else None
        caption = row["caption"]
        # An empty cell of JSON is null.
        text = "" if caption is None else one_line(caption) if isinstance(caption, str) else None
        kind = None if label is None or isinstance(label, list | dict) else str(label).strip() or None
        entries.append(Entry(path, text, kind, f"{table_path} {table.unit} {table.numbers[index]}"))
    return entries


def read_sidecar(path: Path) -> str:
    """The caption in a text file, its lines joined; "" if it is empty. Raises DataError if it is not UTF-8 text."""
    try:
        if not path.is_file() or path.stat().st_size > MAX_TEXT_BYTES:
            rule = f"this is not a file of at most {MAX_TEXT_BYTES:,} bytes"
            raise DataError(Problem("caption", str(path), rule, "Save the caption as a short text file."))
        raw = path.read_bytes()
    except OSError as error:
        rule = f"it cannot be read: {(error.strerror or str(error)).lower()}"
        raise DataError(Problem("caption", str(path), rule, "Check its permissions.")) from error
    return one_line(decode(raw, path, None, 0, "caption").removeprefix("\ufeff"))


def one_line(text: str) -> str:
    """Lines joined to one caption, as tags are: with commas, unless a line ends in a sign of its own."""
    lines = [" ".join(line.split()) for line in text.splitlines() if line.strip()]
    joined = [line if line[-1] in ".,;:!?。，；！？" else f"{line}," for line in lines[:-1]]
    return " ".join([*joined, *lines[-1:]])


def class_caption(words: str) -> str:
    """The caption of a class."""
    return f"a photo of a {words}"


def choose(layout: Layout, pictures: Sequence[PurePosixPath], listed: bool) -> str | None:
    """Which source the captions of a split come from: "metadata" (it is `listed` in a file of captions), else
    "sidecar", else "repeats", else "class"; None if there is none at all."""
    kinds = [layout.kind_of(picture) for picture in pictures]
    if listed:
        return "metadata"
    if any(picture.with_suffix("") in layout.sidecars for picture in pictures):
        return "sidecar"
    if any(kind.repeated for kind in kinds):
        return "repeats"
    if any(kind.words for kind in kinds):
        return "class"
    return None


def from_folder(source: str, kind: Kind) -> str | None:
    """The caption of a picture that no text names: from its class if `source` allows that, else None."""
    if kind.words and kind.repeated and source in ("sidecar", "repeats"):
        return kind.words
    if kind.words and source == "class":
        return class_caption(kind.words)
    return None


def tell(split: str, source: str, layout: Layout, pictures: Sequence[PurePosixPath]) -> str:
    """Which source won, and what else could have given captions."""
    words = {
        "metadata": "a file of captions",
        "sidecar": "the text file beside each picture",
        "repeats": "folders called REPEATS_NAME",
        "class": "folders named after classes",
    }
    order = list(words)
    texts = sum(picture.with_suffix("") in layout.sidecars for picture in pictures)
    kinds = {kind for picture in pictures if (kind := layout.kind_of(picture)).words}
    # Beside texts, these names are the captions of the pictures that have no text.
    repeated = 0 if source == "sidecar" and texts < len(pictures) else sum(kind.repeated for kind in kinds)
    spare = [
        (texts, "text files", "sidecar"),
        (repeated, "names of folders with repeats", "repeats"),
        (sum(not kind.repeated for kind in kinds), "names of folders", "class"),
    ]
    unused = [f"{what} ({n})" for n, what, rank in spare if n and order.index(rank) > order.index(source)]
    more = f"; not used as captions: {', '.join(unused)}" if unused else ""
    return f"{split}: captions come from {words[source]}{more}."


def _usual(field: str, there: Sequence[str]) -> str | None:
    folded = {column.casefold(): column for column in there}
    return next((folded[usual] for usual in USUAL[field] if usual in folded), None)


def _is_name(value: Any) -> bool:
    """Whether this can be the name of a file at all."""
    try:
        return isinstance(value, str) and bool(value.strip()) and b"\0" not in os.fsencode(value)
    except UnicodeEncodeError:
        return False
