"""Finds studies in a results folder, by name or the newest.

Reads study.json only, and follows no name out of the folder.
"""

from __future__ import annotations

import argparse
from difflib import get_close_matches
from pathlib import Path

from tuner.errors import StoreError, StudyError
from tuner.store.files import read_study
from tuner.store.records import StudyRecord


def add_study(parser: argparse.ArgumentParser) -> None:
    """The word that names a study, for a verb that takes one."""
    parser.add_argument("study", nargs="?", metavar="STUDY", help="its name; the newest study if not given")


def add_results(parser: argparse.ArgumentParser) -> None:
    """The option that says where studies lie."""
    parser.add_argument(
        "--results", type=Path, default=Path("results"), metavar="DIR", help="where studies lie (results)"
    )


def all_studies(results: Path) -> list[tuple[Path, StudyRecord]]:
    """Every readable study with its folder, newest first. A folder whose study.json cannot be read is left out."""
    found = []
    for path in results.glob("*/study.json"):
        try:
            found.append((path.parent, read_study(path.parent)))
        except StoreError:
            continue
    return sorted(found, key=lambda pair: pair[1].created, reverse=True)


def find_study(results: Path, name: str | None, task: str | None = None) -> tuple[Path, StudyRecord]:
    """The named study, or the newest (of a task). Raises StudyError if there is none, StoreError if unreadable."""
    if name is not None:
        if name in ("", ".", "..") or Path(name).name != name:
            raise StudyError(f"study = {name!r}: a study's name is that of one folder in {results}, with no slash.")
        folder = results / name
        try:
            there = (folder / "study.json").exists()
        except OSError as error:
            raise StoreError(f"{folder} cannot be read: {error.strerror}.") from error
        if not there:
            near = get_close_matches(name, [path.parent.name for path in results.glob("*/study.json")], 1)
            hint = f"Did you mean {near[0]}?" if near else "`tuner status --list` shows those there are."
            raise StudyError(f"study = {name!r}: there is no such study in {results}. {hint}")
        return folder, read_study(folder)
    studies = [(folder, record) for folder, record in all_studies(results) if task in (None, record.task)]
    if not studies:
        kind = f"{task} study" if task else "study"
        raise StudyError(f"there is no {kind} in {results}. Run one: tuner tune {task or 'sentiment'}")
    return studies[0]


def adapter_folder(folder: Path, record: StudyRecord) -> Path:
    """Where a study's best adapter lies. Raises StudyError if the study has none (yet)."""
    adapter = folder / (record.winner.adapter if record.winner else "best")
    if record.winner is None or not adapter.is_dir():
        raise StudyError(
            f"study {record.name} is {record.state} and has no best adapter yet. "
            f"`tuner status {record.name}` shows how far it is; `tuner tune --resume {record.name}` goes on."
        )
    return adapter
