"""`tuner init`: look at the user's data and write a commented config for it."""

from __future__ import annotations

from pathlib import Path

from tuner.data.suggest import suggest_config
from tuner.errors import ConfigError, Problem
from tuner.store.files import write_text


def run(data: Path, out: Path, force: bool = False, task: str | None = None) -> str:
    """Write a config for `data` to `out` and return the sentence to print. `task` None goes by the data's columns.
    Raises DataError if the data does not fit, ConfigError if `out` is there and `force` is not set or the task is not
    known, StoreError if it cannot be written."""
    if out.exists() and not force:
        raise ConfigError(Problem("--out", str(out), "the file is there already", "Choose another, or use --force."))
    suggestion = suggest_config(data, task)
    write_text(out, suggestion.text)
    return f"Wrote {out}. Read it, change what you know better, then: tuner tune {suggestion.task} --config {out}"
