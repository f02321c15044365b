"""A folder of pictures with captions as rows: every picture is decoded once, and what is wrong is said all at once.

Some bad pictures are left out and named; many refuse the folder. What a folder may look like is `image_layout.py`'s
and `image_captions.py`'s knowledge, what a picture may be is `image_file.py`'s.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from tuner.data.image_candidates import Candidate, entries_by_split, found_candidates, listed_candidates
from tuner.data.image_captions import USUAL, choose, tell
from tuner.data.image_file import Refusal, pixel_hash, read_picture
from tuner.data.image_findings import MAX_WORDS, RULES, Finding, Tally
from tuner.data.image_layout import ELSEWHERE, Layout, is_inside, read_layout
from tuner.data.image_rows import ImageRow, ImageRows
from tuner.errors import DataError, Problem

__all__ = ["MIN_PICTURES", "ImageRow", "ImageRows", "read_image_folder"]

MIN_PICTURES = 4
"""The fewest of a set that is to be cut: two to train on, one to validate and one to test with."""
# The most of a set that may be left out as mistakes: more is a set that is not what its owner thinks.
MAX_BAD_SHARE = 0.1
_HOW = (
    'Add metadata.jsonl with a line {"file_name": "a.jpg", "text": "a red shoe"} for each picture, or a text file '
    "of the same name beside each, or put the pictures into folders named after what they show."
)


def read_image_folder(
    path: Path,
    *,
    columns: Mapping[str, str] | None = None,
    name: str = "data.source",
    least: int = MIN_PICTURES,
) -> ImageRows:
    """The pictures of a folder with their captions, repeats and classes, and what was found wrong or odd.

    Captions come from metadata.jsonl (or metadata.csv, captions.csv, captions.tsv; `columns` renames their fields),
    else from a text file beside each picture, else from folders called 10_NAME, else from folders named after classes.
    Folders train, validation and test are splits. `name` is the config path for messages; `least` is how many pictures
    the folder, or its folder train, must have: 1 suits one that is all held out. Raises DataError with all that is
    wrong.
    """
    _require_columns(columns or {})
    tally = Tally()
    layout = read_layout(path, tally, name)
    problems: list[Problem] = []
    entries = entries_by_split(layout, columns or {}, name, problems)
    unread = bool(problems)
    pictures: dict[str, list[PurePosixPath]] = {}
    for picture in layout.pictures:
        pictures.setdefault(layout.split_of(picture), []).append(picture)
    strays = [each.path for each in listed_candidates(layout, ELSEWHERE, (), entries.get(ELSEWHERE, ()), tally)]
    for stray in dict.fromkeys([*pictures.get(ELSEWHERE, ()), *strays]):
        tally.add("elsewhere", ELSEWHERE, str(stray))
    layouts, notes, named = {}, [], {}
    for split in ("train", "validation", "test"):
        there, listed = pictures.get(split, []), entries.get(split, [])
        # Where a file of captions could not be read, nobody can say which pictures it names.
        if not listed and (unread or not there):
            continue
        source = choose(layout, there, bool(listed))
        if source is None:
            problems.append(Problem(name, str(path), f"the {len(there)} pictures of {split} have no captions", _HOW))
            continue
        layouts[split] = source
        notes.append(tell(split, source, layout, there))
        if source == "metadata":
            found = listed_candidates(layout, split, there, listed, tally)
        else:
            found = found_candidates(layout, split, there, source, tally)
        named[split] = [row for each in found if (row := _row(layout, split, each, tally)) is not None]
    _without_leaks(named, path, tally)
    findings = tally.findings()
    problems += _judged(path, named, findings, name, least, bool(problems))
    if problems:
        raise DataError(problems)
    notes += [f"{table}: not read, another file of captions stands beside it." for table in layout.spare_tables]
    splits = {split: tuple(rows) for split, rows in named.items()}
    return ImageRows(splits["train"], splits.get("validation"), splits.get("test"), layouts, findings, tuple(notes))


def _require_columns(columns: Mapping[str, str]) -> None:
    problems = [
        Problem(f"data.columns.{field}", column, "pictures have no such field", f"Use: {', '.join(USUAL)}.")
        for field, column in columns.items()
        if field not in USUAL
    ]
    if problems:
        raise DataError(problems)


def _row(layout: Layout, split: str, candidate: Candidate, tally: Tally) -> ImageRow | None:
    place = str(candidate.path)
    if not is_inside(layout.root, candidate.path):
        tally.add("outside", split, place)
        return None
    path = layout.root / candidate.path
    picture = read_picture(path)
    if isinstance(picture, Refusal):
        tally.add(picture.rule, split, f"{place} ({picture.said})")
        return None
    for change in picture.changes:
        tally.add(change, split, place)
    if len(candidate.caption.split()) > MAX_WORDS:
        tally.add("long_caption", split, place)
    return ImageRow(path, candidate.caption, candidate.repeats, candidate.label, pixel_hash(picture.image))


def _without_leaks(named: dict[str, list[ImageRow]], root: Path, tally: Tally) -> None:
    """Take out what stands in a later split as well: test keeps all of its rows. Repeats within a split are counted."""
    held: set[str] = set()
    for split in reversed(list(named)):
        leaks = [row for row in named[split] if row.pixels in held]
        named[split] = [row for row in named[split] if row.pixels not in held]
        seen: set[str] = set()
        for row in named[split]:
            if row.pixels in seen:
                tally.add("duplicates", split, row.path.relative_to(root).as_posix())
            seen.add(row.pixels)
        for row in leaks:
            tally.add("leaks", split, row.path.relative_to(root).as_posix())
        held |= seen


def _judged(
    root: Path,
    named: Mapping[str, Sequence[ImageRow]],
    findings: Sequence[Finding],
    name: str,
    least: int,
    uncaptioned: bool,
) -> list[Problem]:
    """What refuses the folder. `uncaptioned`: mistakes are known already that explain why there are few pictures."""
    bad = [finding for finding in findings if finding.bad]
    count = sum(finding.count for finding in bad)
    good = sum(map(len, named.values()))
    problems = []
    if count > MAX_BAD_SHARE * (count + good):
        rule = f"{count} of {count + good} pictures cannot be used, and {MAX_BAD_SHARE:.0%} may be left out"
        problems.append(Problem(name, str(root), rule, "Correct what follows, or take it out of the folder."))
        for finding in bad:
            broken = RULES[finding.rule]
            problems.append(Problem(name, finding.rule, f"{broken.title}: {finding.listed()}", broken.cure))
    if uncaptioned:
        return problems
    train = len(named.get("train", ()))
    if not train and not count:
        rule = "there are no pictures in the folder (jpg, png, webp, bmp, gif, tif)"
        problems.append(Problem(name, str(root), rule, "Check the name, and that the pictures are not in an archive."))
    elif train < least == 1:
        problems.append(Problem(f"{name} pictures", train, "there are no pictures left to measure on", "Add some."))
    elif train < least:
        rule = f"at least {least} pictures are needed: two to train on, one to validate and one to test with"
        problems.append(Problem(f"{name} pictures", train, rule, "Add pictures; ten to twenty of one style are usual."))
    for split, rows in named.items():
        if not rows and split != "train":
            rule = "there are no pictures left to measure on"
            problems.append(Problem(f"{name} {split}", 0, rule, "Add some, or take the folder out to cut from train."))
    return problems
