"""Search for the best adapter of a task. A hyperparameter's option takes a value (8), several values (4,8,16) or a
range (1..4). Without a running Ray cluster the study starts Ray on this machine and ends it again. Ctrl-C ends a study
cleanly, keeps what was trained and prints the command that goes on.

Knows nothing of how trials run: it turns options into a config, watches the study and prints its end.
"""

from __future__ import annotations

import argparse

from rich.console import Console

from tuner import tasks
from tuner.cli import study_options
from tuner.cli.observers import Observers, Reported, Written
from tuner.cli.progress import make_progress
from tuner.cli.summary import print_summary
from tuner.cli.terminal import console
from tuner.config import StudyConfig
from tuner.store.records import INTERRUPTED, StudyRecord
from tuner.study.observer import Observer


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `tuner tune`."""
    parser.add_argument("--resume", metavar="STUDY", help="go on with a study; its finished trials are kept")
    parser.add_argument(
        "--in-process", action="store_true", help="run without Ray, in one loop that goes the same way every time"
    )
    parser.add_argument("--quiet", action="store_true", help="print nothing but the end")
    study_options.add_arguments(parser)


def execute(options: argparse.Namespace) -> int:
    """Run the study and print its end, or several where the config's mode is that. 0 when complete, 130 when
    interrupted. Raises TunerError."""
    config = study_options.load(options, resume=options.resume)
    out = console()
    mode = tasks.spec(config.task).chain_mode(config)
    if mode is not None:
        from tuner.cli.pipeline import run_pipeline

        return run_pipeline(mode, config, options, out)
    record = tune(config, options, out, report=True, resume=options.resume is not None)
    print_summary(out, config.results / record.name, record)
    return 130 if record.state == INTERRUPTED else 0


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
