"""Show a running or finished study: its trials, best first, and what they reached.

Reads study.json, which a running study rewrites every few seconds; touches neither Ray nor the study.
"""

from __future__ import annotations

import argparse
import json
from datetime import datetime

from rich.table import Table

from tuner.cli.find import add_results, add_study, all_studies, find_study
from tuner.cli.summary import print_summary, trials_table
from tuner.cli.terminal import console
from tuner.errors import StudyError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `tuner status`."""
    add_study(parser)
    add_results(parser)
    parser.add_argument("--list", action="store_true", help="list all studies instead, newest first")
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")


def execute(options: argparse.Namespace) -> int:
    """Print the study or the list. Raises StudyError if there is none."""
    return _list(options) if options.list else _show(options)


def _show(options: argparse.Namespace) -> int:
    folder, record = find_study(options.results, options.study)
    if options.json:
        print(json.dumps(record.to_json(), indent=1, ensure_ascii=False))
        return 0
    out = console()
    if record.trials:
        out.print(trials_table(record, out.width))
        out.print()
    print_summary(out, folder, record)
    return 0


def _list(options: argparse.Namespace) -> int:
    studies = all_studies(options.results)
    if options.json:
        rows = [{"name": r.name, "task": r.task, "state": r.state, "folder": str(folder)} for folder, r in studies]
        print(json.dumps(rows, indent=1, ensure_ascii=False))
        return 0
    if not studies:
        raise StudyError(f"there is no study in {options.results}. Run one: tuner tune sentiment")
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for heading in ("study", "task", "base model", "state", "trials", "score", "started"):
        table.add_column(heading, justify="right" if heading in ("trials", "score") else "left", overflow="fold")
    for _, record in studies:
        score = "" if record.winner is None else f"{record.winner.score:.4f}"
        started = datetime.fromtimestamp(record.created).strftime("%Y-%m-%d %H:%M")
        table.add_row(
            record.name, record.task, record.base_model, record.state, str(len(record.trials)), score, started
        )
    console().print(table)
    return 0
