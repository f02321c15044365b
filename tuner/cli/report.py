"""Write the report of a study, running or finished: an HTML page that opens offline, its numbers as JSON, two pictures,
and a sheet of what was drawn.

A study that ends writes its report by itself; this makes a new one, from what is on disk.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from tuner.cli.find import add_results, add_study, find_study
from tuner.cli.terminal import console, say
from tuner.report.schema import AlertPart, TrainingReport


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `tuner report`."""
    add_study(parser)
    add_results(parser)
    parser.add_argument("--preset", metavar="NAME", help="weigh the outputs by one of the task's presets")
    parser.add_argument("--json", action="store_true", help="print where the files lie as JSON, for programs")


def execute(options: argparse.Namespace) -> int:
    """Write the report and say what it says in short. Raises StudyError, ConfigError, StoreError."""
    folder, record = find_study(options.results, options.study)
    from tuner.report.analysis import analyse
    from tuner.report.training_report import write_report

    report = analyse(folder, record, time.time(), options.preset)
    files = write_report(folder, record, report)
    places = files.named
    if options.json:
        print(json.dumps({name: str(path) for name, path in places.items()}, indent=1))
        return 0
    out = console()
    print_report(out, report)
    print_alerts(out, report.alerts)
    out.print()
    for name, path in places.items():
        say(out, Text.assemble("  ", (f"{name:<11}", "dim"), str(path)))
    return 0


def print_report(out: Console, report: TrainingReport) -> None:
    """The report in short: its summary and what is missing."""
    for sentence in report.summary:
        say(out, sentence)
    for sentence in report.missing:
        say(out, Text.assemble(("Missing: ", "yellow"), sentence))


def print_alerts(out: Console, alerts: Sequence[AlertPart]) -> None:
    """The alerts that hold, one a line."""
    for alert in alerts:
        style = "bold red" if alert.level == "critical" else "yellow"
        say(out, Text.assemble((f"Alert ({alert.level}): ", style), alert.message))
