"""Promote a study's adapter to the registry: check its files, load it, let it answer, publish it under a name.

A refused adapter leaves the registry as it was. Promoting the same adapter again gives the same version.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from serve.promotion import Promotion, Source, check_fits, promote, winner_of
from tuner import tasks
from tuner.cli.find import adapter_folder, add_results, add_study, find_study
from tuner.cli.registry import DEFAULT, audited, command, user
from tuner.cli.terminal import console, say
from tuner.registry import CHAMPION, AdapterName, Registry
from tuner.registry.names import checked_alias
from tuner.store.records import StudyRecord


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `tuner promote`."""
    add_study(parser)
    parser.add_argument(
        "--trial", metavar="ID", help="the trial whose adapter it is (the winner); of others it is made first"
    )
    parser.add_argument(
        "--as", dest="name", required=True, metavar="TASK/NAME", help="what it is called, as sentiment/reviews"
    )
    parser.add_argument(
        "--alias", default=CHAMPION, metavar="ALIAS", help=f"what points to it from now on ({CHAMPION})"
    )
    parser.add_argument("--registry", type=Path, metavar="DIR", help="the registry (the folder registry in --results)")
    add_results(parser)


def execute(options: argparse.Namespace) -> int:
    """Promote it and say what was checked. Raises ConfigError, DataError, DeviceError, StudyError, StoreError,
    BaseModelError."""
    name = AdapterName.parse(options.name)
    alias = checked_alias(options.alias)
    example = tasks.spec(name.task).example
    folder, record = find_study(options.results, options.study, name.task)
    place = options.registry or options.results / DEFAULT.name
    out = console()
    trial = f" trial {options.trial}" if options.trial is not None else ""
    with audited(place, "promote", f"{name}@{alias} from {record.name}{trial}") as note:
        check_fits(record, name, options.trial)
        with _source(out, folder, record, options.trial) as source:
            done = promote(Registry(place), record, source, name, alias, user())
        note.outcome = f"done: {done.version.version}"
    _say(out, done, example, alias, place)
    return 0


@contextmanager
def _source(out: Console, folder: Path, record: StudyRecord, trial: str | None) -> Iterator[Source]:
    """The winner's adapter, or another trial's, which is made for as long as the context lasts."""
    if trial is None or (record.winner is not None and record.winner.trial_id == trial):
        adapter_folder(folder, record)
        yield winner_of(folder, record)
        return
    from tuner.study.export import exported, kept

    found = kept(folder, record, trial)
    say(out, f"Loading {record.base_model} and the rows of {record.name}, to make the adapter of {trial}.")
    with exported(record, found) as made:
        yield Source(made, trial, found.spec.params, found.metrics)


def _say(out: Console, done: Promotion, example: str, alias: str, place: Path) -> None:
    name, version, files = done.version.name, done.version.version, done.version.manifest.files
    say(out, f"Promoted {done.version}")
    size, count = sum(entry.size for entry in files), len(files)
    say(out, f"Checked: {count} file{'s' * (count != 1)}, {size / 1e6:.3g} MB, their kinds, sizes and tensor headers.")
    shown = json.dumps(done.answer, ensure_ascii=False)
    say(out, f"Asked on {done.base_model}: {example} -> {shown if len(shown) <= 120 else shown[:117] + '...'}")
    if done.before is None:
        say(out, f"{alias} is new and points to it.")
    elif done.before.versions == {version}:
        say(out, f"{alias} points to it, as before.")
    else:
        say(out, f"{alias} points to it, and pointed to {done.before} before.")
        say(out, f"To go back: {command(place, 'registry', 'rollback', str(name), alias)}")
    say(out, f"To serve it, which a running server does by now: {command(place, 'serve', '--development')}")
    say(out, f"Next: {command(place, 'registry', 'show', str(name))}")
