"""Words of the library, said without the server's paths: of a file or folder its own name stays.

Messages of the library name folders, which help whoever sits at the machine; over HTTP they would tell strangers how
the server's disk is laid out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tuner.errors import ConfigError, DataError, Problem, TunerError

# An absolute path begins a word, a quoted one too. Two slashes behind a colon are an address's (https://...).
_PATH = re.compile(r"""(?:(?<![^\s'"`(\[={,])|(?<=:)(?!//))/[^\s'"`)\]},:;]*""")
_QUOTED = re.compile(r"""(?<=['"])/[^'"]+(?=['"])""")


def pathless(text: str, folders: Iterable[Path] = ()) -> str:
    """A sentence without absolute paths. Where one ends is not to be told if it has spaces, unless it is quoted, or
    lies in one that is quoted in the sentence, or in `folders`."""
    known = {each for path in folders for each in (path.absolute(), path.resolve())}
    known |= {Path(each) for each in _QUOTED.findall(text)}
    for folder in sorted(filter(lambda each: each.name, known), key=lambda each: len(str(each)), reverse=True):
        text = text.replace(f"{folder}/", "/").replace(str(folder), folder.name)
    return _PATH.sub(lambda found: _name(found[0]), text)


def pathless_error(error: TunerError, folders: Iterable[Path]) -> str:
    """What an error says, without absolute paths."""
    if isinstance(error, ConfigError | DataError) and error.problems:
        # A problem cuts its value short, in the middle of a path too, so the values come first.
        error = type(error)(
            Problem(each.name, pathless_value(each.value), each.rule, each.cure) for each in error.problems
        )
    return pathless(str(error), folders)


def pathless_value(value: Any) -> Any:
    """Plain data in which every text that is an absolute path is its last part."""
    if isinstance(value, str):
        return _name(value) if value.startswith("/") else value
    if isinstance(value, Mapping):
        return {key: pathless_value(each) for key, each in value.items()}
    if isinstance(value, Sequence):
        return [pathless_value(each) for each in value]
    return value


def _name(path: str) -> str:
    stripped = path.rstrip("/.")
    return stripped.rpartition("/")[2] + path[len(path.rstrip(".")) :]
