"""The pictures of a folder, each with its caption, before one is opened: rows of files of captions, or what was found.

Rows and texts that give no caption go to the tally. Whether a picture is any good is not asked here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from tuner.data.image_captions import Entry, from_folder, read_entries, read_sidecar
from tuner.data.image_findings import Tally
from tuner.data.image_layout import Layout, is_inside
from tuner.errors import DataError, Problem


@dataclass(frozen=True)
class Candidate:
    """A picture with its caption, not opened yet. `path` is from the folder's root."""

    path: PurePosixPath
    caption: str
    repeats: int
    label: str | None


def entries_by_split(
    layout: Layout, columns: Mapping[str, str], name: str, problems: list[Problem]
) -> dict[str, list[Entry]]:
    """The rows of every file of captions by the split that their picture lies in. Mistakes go to `problems`."""
    entries: dict[str, list[Entry]] = {}
    for table in layout.tables:
        if not is_inside(layout.root, table):
            problems.append(Problem(name, str(table), "the file lies outside the folder, by a link", "Copy it there."))
            continue
        try:
            for entry in read_entries(layout.root, table, columns, name):
                entries.setdefault(layout.split_of(entry.path or table), []).append(entry)
        except DataError as error:
            problems.extend(error.problems)
    return entries


def listed_candidates(
    layout: Layout, split: str, pictures: Sequence[PurePosixPath], entries: Sequence[Entry], tally: Tally
) -> Iterator[Candidate]:
    """Those of a split with a file of captions. Of several rows that name a picture the first with a caption counts."""
    named: set[PurePosixPath] = set()
    seen: set[PurePosixPath] = set()
    for entry in entries:
        place = f"{entry.where} ({entry.path})"
        if entry.path is None:
            tally.add("no_file_name", split, entry.where)
        elif not is_inside(layout.root, entry.path):
            tally.add("outside", split, place)
        elif entry.path in seen:
            tally.add("twice", split, place)
        else:
            named.add(entry.path)
            if entry.caption is None:
                tally.add("caption_file", split, place)
                continue
            if not entry.caption:
                tally.add("empty_caption", split, place)
                continue
            seen.add(entry.path)
            if not (layout.root / entry.path).is_file():
                tally.add("missing", split, place)
            else:
                yield Candidate(entry.path, entry.caption, layout.kind_of(entry.path).repeats, entry.label)
    for picture in pictures:
        if picture not in named:
            tally.add("unlisted", split, str(picture))


def found_candidates(
    layout: Layout,
    split: str,
    pictures: Sequence[PurePosixPath],
    source: str,
    tally: Tally,
) -> Iterator[Candidate]:
    """Those of a split without a file of captions."""
    for picture in pictures:
        kind = layout.kind_of(picture)
        text = layout.sidecars.get(picture.with_suffix(""))
        if text is None:
            said = from_folder(source, kind)
            if said is None:
                tally.add("no_caption", split, str(picture))
                continue
        elif not is_inside(layout.root, text):
            tally.add("outside", split, str(text))
            continue
        else:
            try:
                said = read_sidecar(layout.root / text)
            except DataError as error:
                tally.add("caption_file", split, f"{text} ({error.problems[0].rule})")
                continue
        if said.strip():
            yield Candidate(picture, said, kind.repeats, kind.words)
        else:
            tally.add("empty_caption", split, str(text))
    owned = {picture.with_suffix("") for picture in layout.pictures}
    for stem, text in layout.sidecars.items():
        if stem not in owned and layout.split_of(text) == split:
            tally.add("orphans", split, str(text))
