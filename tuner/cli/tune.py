"""Search for the best adapter of a task. A hyperparameter's option takes a value (8), several values (4,8,16) or a
range (1..4). Without a running Ray cluster the study starts Ray on this machine and ends it again. Ctrl-C ends a study
cleanly, keeps what was trained and prints the command that goes on.

Knows nothing of how trials run: it turns options into a config, watches the study and prints its end.
"""

from __future__ import annotations

import argparse

from tuner import tasks
from tuner.cli import pipeline, study_options
from tuner.cli.summary import print_summary
from tuner.cli.terminal import console
from tuner.cli.watched import tune
from tuner.store.records import INTERRUPTED


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
        return pipeline.run_pipeline(mode, config, options, out)
    record = tune(config, options, out, report=True, resume=options.resume is not None)
    print_summary(out, config.results / record.name, record)
    return 130 if record.state == INTERRUPTED else 0
