"""What a folder must be to be promoted: few, small, known kinds of files, none of which can run code when opened.

Every mistake is reported at once. Opens no weights: of safetensors the header is read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from tuner.errors import DataError, Problem
from tuner.registry.bounded_json import parse_json
from tuner.registry.tensor_file import check_header
from tuner.registry.tree import FILE, FOLDER, LINK, Found, entries, opened, opened_file

MANIFEST = "manifest.json"
"""The registry's own file in the folder of a version."""
TENSORS, JSON = ".safetensors", ".json"
TEXTS = (".txt", ".md", ".jinja")
TOKENIZERS = ("tokenizer.model", "spiece.model", "sentencepiece.bpe.model")
"""Word lists of sentencepiece. Other .model files are pickles as often as not."""
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")
_UNSAFE = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".py", ".so")


@dataclass(frozen=True)
class Allowance:
    """The largest folder that may be promoted. A whole Stable Diffusion, the largest that tasks save, has some 20 files
    four folders deep, 3.5 GB the largest of them and 5 GB together; a chat model's tokenizer.json has up to 35 MB and
    is 7 levels deep; a README or a merges.txt stays below 5 MB."""

    files: int = 100
    depth: int = 4
    tensor_bytes: int = 8 * 2**30
    total_bytes: int = 16 * 2**30
    json_bytes: int = 64 * 2**20
    json_depth: int = 64
    text_bytes: int = 16 * 2**20


def check_source(source: Path, allowance: Allowance) -> list[str]:
    """As `check_folder`, of a path that comes from outside."""
    if ".." in source.parts:
        raise DataError(Problem("adapter", str(source), "its path must not hold '..'", "Name the folder itself."))
    return check_folder(source, allowance)


def check_folder(folder: Path, allowance: Allowance) -> list[str]:
    """The paths of the files in a folder that can be promoted. Raises DataError with all that is wrong."""
    try:
        with opened(folder) as root:
            found = _few(root, allowance)
            problems = list(_problems(root, found, allowance))
    except OSError as error:
        rule = f"it must be a folder, not a link, that can be read ({error.strerror or error})"
        raise DataError(Problem("adapter", str(folder), rule, "Name a study's best folder.")) from error
    if problems:
        raise DataError(problems)
    return [each.path for each in found if each.kind == FILE]


def _few(root: int, allowance: Allowance) -> list[Found]:
    found: list[Found] = []
    for each in entries(root, allowance.depth):
        if len(found) == 2 * allowance.files:  # files and their folders; of a million no list is made
            break
        found.append(each)
    return found


def _problems(root: int, found: list[Found], allowance: Allowance) -> Iterator[Problem]:
    files = [each for each in found if each.kind == FILE]
    if not files:
        yield Problem("adapter", "", "the folder holds no file", "Name a study's best folder.")
    if len(files) > allowance.files or len(found) == 2 * allowance.files:
        yield Problem("files", len(files), f"at most {allowance.files} are allowed", "Leave what is no adapter out.")
    if (total := sum(each.size for each in files)) > allowance.total_bytes:
        yield Problem("bytes", total, f"all files together may have at most {allowance.total_bytes}")
    if len({each.path.lower() for each in found}) != len(found):
        yield Problem("names", len(found), "two names differ in upper and lower case alone, which not every disk keeps")
    for each in found:
        yield from _problems_of(root, each, allowance)


def _problems_of(root: int, found: Found, allowance: Allowance) -> Iterator[Problem]:
    path = PurePosixPath(found.path)
    if found.kind == LINK:
        yield Problem("file", found.path, "it is a symbolic link, and links are not followed", "Put the file there.")
        return
    if not _PART.fullmatch(path.name) or ".." in path.name:
        rule = "a name is ASCII letters, digits, '.', '_' and '-', begins with no dot and has no '..'"
        yield Problem("file", found.path, rule, "Delete or rename it.")
        return
    if found.kind == FOLDER:
        if len(path.parts) > allowance.depth:
            yield Problem("folder", found.path, f"folders may lie {allowance.depth} deep")
        return
    if found.kind != FILE:
        yield Problem("file", found.path, "it is no regular file", "Delete it.")
        return
    if found.path == MANIFEST:
        yield Problem("file", found.path, "this is the name of the registry's own file", "Rename or delete it.")
        return
    most = _most_bytes(path, allowance)
    if most is None:
        kinds = ", ".join((TENSORS, JSON, *TEXTS))
        why = "opening it could run code" if path.suffix.lower() in _UNSAFE else "its kind is not known"
        yield Problem("file", found.path, f"{why}; allowed are {kinds} and {TOKENIZERS[0]}", "Save it as safetensors.")
    elif found.size > most:
        yield Problem("file", found.path, f"it has {found.size} bytes, and {most} are allowed")
    elif (wrong := _wrong_inside(root, found, allowance)) is not None:
        yield Problem("file", found.path, wrong)


def _most_bytes(path: PurePosixPath, allowance: Allowance) -> int | None:
    """How large a file of this kind may be; None for kinds that are refused."""
    if path.suffix == TENSORS:
        return allowance.tensor_bytes
    if path.suffix == JSON:
        return allowance.json_bytes
    return allowance.text_bytes if path.suffix in TEXTS or path.name in TOKENIZERS else None


def _wrong_inside(root: int, found: Found, allowance: Allowance) -> str | None:
    """What is wrong with a file's content. Reads no more of it than its size when it was listed."""
    name = PurePosixPath(found.path)
    try:
        with opened_file(root, found.path) as file:
            if name.suffix == TENSORS:
                check_header(file, found.size)
            elif name.suffix == JSON:
                parse_json(file.read(found.size), allowance.json_depth)
            elif name.suffix in TEXTS:
                file.read(found.size).decode("utf-8")
    except UnicodeDecodeError as error:
        return f"it is no UTF-8 text ({error.reason} at byte {error.start})"
    except (OSError, ValueError) as error:
        return str(error)
    return None
