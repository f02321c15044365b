"""Writing files so that a reader never sees half of one: a temporary name, sync, rename."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from tuner.errors import StoreError
from tuner.store.records import StudyRecord


def write_bytes(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Replace `path` with `data` in one step. Makes its folder. What is for its owner alone (mode 0600) is never for
    others on the way. Raises StoreError when the disk refuses."""
    _write(path, (data,), mode)


def _write(path: Path, parts: Iterable[bytes], mode: int = 0o644) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.writelines(parts)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(temporary, mode)
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise StoreError(
            f"cannot write {path}: {error.strerror or error}. Free space or choose another --results."
        ) from error


def write_text(path: Path, text: str) -> None:
    """Replace `path` with UTF-8 text in one step."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, data: Any) -> None:
    """Replace `path` with JSON in one step. NaN is written as null: JSON has none."""
    write_text(path, _json(data, indent=1) + "\n")


def finite(data: Any) -> Any:
    """The same data with NaN and infinity as None, and tuples as lists: what JSON can say."""
    if isinstance(data, float):
        return data if data - data == 0 else None
    if isinstance(data, dict):
        return {key: finite(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [finite(value) for value in data]
    return data


def read_study(folder: Path) -> StudyRecord:
    """The record in a study's folder. Raises StoreError if there is none or it cannot be read."""
    path = folder / "study.json"
    try:
        return StudyRecord.from_json(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise StoreError(f"there is no study in {folder}: study.json is missing.") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreError(f"{path} cannot be read: {error}.") from error


def write_study(folder: Path, record: StudyRecord) -> None:
    """Save a study's record as study.json: a trial a line, after everything else."""
    _write(folder / "study.json", (part.encode("utf-8") for part in _study_parts(record)))


def _study_parts(record: StudyRecord) -> Iterator[str]:
    """The record's JSON piece by piece. A study saves it again and again while it runs: copied and turned into text as
    a whole, it would take many times its own size of memory each time, more with every trial."""
    rest = replace(record, trials=()).to_json()
    del rest["trials"]
    yield _json(rest, indent=1).removesuffix("\n}") + ',\n "trials": ['
    for number, trial in enumerate(record.trials):
        yield (",\n  " if number else "\n  ") + _json(trial.to_json())
    yield "\n ]\n}\n"


def _json(data: Any, indent: int | None = None) -> str:
    return json.dumps(finite(data), indent=indent, ensure_ascii=False, default=str, allow_nan=False)
