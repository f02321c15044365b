"""Runs one study with all that watches it: progress, files, alarms, the report at its end. Shared by the verbs that run
studies.

Knows nothing of how trials run.
"""

from __future__ import annotations

import argparse

from rich.console import Console

from tuner.cli.observers import Observers, Reported, Written
from tuner.cli.progress import make_progress
from tuner.config import StudyConfig
from tuner.store.records import StudyRecord
from tuner.study.observer import Observer


def tune(
    config: StudyConfig, options: argparse.Namespace, out: Console, *, report: bool, resume: bool = False
) -> StudyRecord:
    """Run a study with all that watches it, and return its record. `options` say how: in_process, quiet, command.
    `report` writes the report at the end; `resume` goes on with the study that `config.name` names. Raises
    TunerError."""
    if not options.quiet:
        for note in config.config_notes:
            out.print(f"Note: {note}", markup=False, soft_wrap=True)

    from tuner.monitor.watch import Alarms
    from tuner.study.study import run_study

    with make_progress(out, quiet=options.quiet) as progress:
        watching: list[Observer] = [Written(config.results), Alarms(config.results, progress.say)]
        if report:
            watching.append(Reported(config.results))
        return run_study(
            config,
            in_process=options.in_process,
            resume=resume,
            observer=Observers(*watching, progress),
            command=options.command,
        )
