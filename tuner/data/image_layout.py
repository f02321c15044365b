"""What lies in a folder of pictures: pictures, texts, files of captions; and what its subfolders' names mean.

A subfolder may be a split (train, validation, test), a class, or a class with repeats (`10_red dress`, as kohya's
scripts have it). Opens no file.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from tuner.data.image_file import EXTENSIONS
from tuner.data.image_findings import Tally
from tuner.data.lines import unreadable
from tuner.errors import DataError, Problem

ELSEWHERE = "elsewhere"
# Of several in one folder the first is read. The last cannot be, and says so.
TABLES = ("metadata.jsonl", "metadata.csv", "captions.csv", "captions.tsv", "metadata.parquet")
_SIDECARS = (".txt", ".caption")
_SPLITS = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
}
# Folders that hold pictures without saying of what, and texts that come with a data set.
_PLAIN = frozenset(("images", "image", "imgs", "img", "pictures", "photos"))
_ABOUT = frozenset(("readme", "license", "licence", "notice", "requirements"))
_REPEATS = re.compile(r"([1-9]\d{0,3})_(.*\S.*)")


@dataclass(frozen=True)
class Kind:
    """What the folders above a picture say. `words` is the name of its class, None in a folder without classes;
    `repeated` whether a number of repeats stands before it."""

    words: str | None = None
    repeats: int = 1
    repeated: bool = False


@dataclass(frozen=True)
class Layout:
    """The files of a folder as paths from `root`, in order. `sidecars` maps a picture's path without its extension to
    its text; `tables` are the files of captions to read, `spare_tables` those that stand beside one of them."""

    root: Path
    pictures: tuple[PurePosixPath, ...]
    sidecars: dict[PurePosixPath, PurePosixPath]
    tables: tuple[PurePosixPath, ...]
    spare_tables: tuple[PurePosixPath, ...]
    has_splits: bool

    def split_of(self, path: PurePosixPath) -> str:
        """The split that a path lies in: train where no folder is a split, `ELSEWHERE` beside those that are."""
        if not self.has_splits:
            return "train"
        return _SPLITS.get(path.parts[0].lower(), ELSEWHERE) if len(path.parts) > 1 else ELSEWHERE

    def kind_of(self, path: PurePosixPath) -> Kind:
        """What the folders above a picture say. The outermost that says something counts."""
        above = path.parts[1 if self.has_splits else 0 : -1]
        names = [part for part in above if part.lower() not in _PLAIN]
        if not names:
            return Kind()
        repeats = _REPEATS.fullmatch(names[0])
        if repeats:
            return Kind(_words(repeats[2]), int(repeats[1]), True)
        return Kind(_words(names[0]))


def read_layout(root: Path, tally: Tally, name: str) -> Layout:
    """Look through a folder and its subfolders; hidden files are passed over. What cannot be used goes to `tally`.

    `name` is the config path for messages. Raises DataError if this is no folder, or has other splits but no train.
    """
    try:
        if not root.is_dir():
            what = "this is a file, not a folder of pictures" if root.exists() else "there is no such folder"
            raise DataError(Problem(name, str(root), what, f"Looked in {root.absolute().parent}; check the name."))
    except OSError as error:
        raise unreadable(root, name, error) from error
    files = list(_files(root, tally))
    tops = {path.parts[0].lower() for path in files if len(path.parts) > 1}
    splits = {_SPLITS[top] for top in tops if top in _SPLITS}
    if splits and "train" not in splits:
        rule = f"there is a folder for {' and '.join(sorted(splits))} but none called train"
        raise DataError(Problem(name, str(root), rule, "Rename the folder with the training pictures to train."))
    pictures, sidecars = [], {}
    tables: dict[PurePosixPath, list[PurePosixPath]] = {}
    for path in files:
        extension = path.suffix.lower()
        if path.name.lower() in TABLES:
            tables.setdefault(path.parent, []).append(path)
        elif extension in EXTENSIONS:
            pictures.append(path)
        elif extension in _SIDECARS and path.stem.lower() not in _ABOUT:
            # .txt comes after .caption in order, and wins.
            sidecars[path.with_suffix("")] = path
    ranked = [sorted(there, key=lambda path: TABLES.index(path.name.lower())) for there in tables.values()]
    used = tuple(there[0] for there in ranked)
    spare = tuple(path for there in ranked for path in there[1:])
    return Layout(root, tuple(pictures), sidecars, used, spare, bool(splits))


def is_inside(root: Path, path: PurePosixPath) -> bool:
    """Whether a path from `root` stays in it, links followed."""
    if path.is_absolute() or ".." in path.parts:
        return False
    return Path(os.path.realpath(root / path)).is_relative_to(os.path.realpath(root))


def _files(root: Path, tally: Tally) -> Iterator[PurePosixPath]:
    """Paths from `root` of all that is not hidden and not a folder, in order."""

    def refused(error: OSError) -> None:
        where = Path(error.filename).relative_to(root).as_posix()
        tally.add("unreadable", ELSEWHERE, f"{where} (a folder: {(error.strerror or str(error)).lower()})")

    found = []
    for above, folders, names in os.walk(root, onerror=refused):
        here = PurePosixPath(Path(above).relative_to(root).as_posix())
        for folder in sorted(folders):
            if (Path(above) / folder).is_symlink():
                tally.add("linked_folders", ELSEWHERE, str(here / folder))
        folders[:] = [folder for folder in folders if not folder.startswith((".", "__MACOSX"))]
        found += [here / file for file in names if not file.startswith(".")]
    yield from sorted(found)


def _words(name: str) -> str:
    return " ".join(name.replace("_", " ").split())
