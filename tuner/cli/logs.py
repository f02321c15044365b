"""Read training logs, this tuner's or others', and say what they mean: every metric, a verdict with its reason, the
curves in a picture. Several logs are compared.

Reads files only; what it cannot read of a log is counted and named.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, replace
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tuner.cli.terminal import console, say
from tuner.data.training_logs import TrainingLog, count_entries, finite_points, read_log
from tuner.errors import DataError, Problem
from tuner.report.log_charts import draw_logs
from tuner.report.log_metrics import meaning
from tuner.report.log_verdict import Verdict, compare, judge, plain
from tuner.store.files import finite

_AXES = ("epoch", "step", "current_steps", "total_steps", "percentage", "trial")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `tuner logs`."""
    parser.add_argument("action", choices=["analyze"], metavar="analyze", help="the one thing to do with logs so far")
    parser.add_argument(
        "files",
        type=Path,
        nargs="+",
        metavar="FILE",
        help="trainer logs, trainer_state.json, predict_results.json, or the folder of a study or a checkpoint",
    )
    parser.add_argument(
        "--chart",
        type=Path,
        default=Path("training_logs.png"),
        metavar="FILE",
        help="where to draw the curves (training_logs.png)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")


def execute(options: argparse.Namespace) -> int:
    """Print what the logs say. Raises DataError, naming every file that is no log, StoreError for the chart."""
    logs: list[TrainingLog] = []
    problems: list[Problem] = []
    paths = list(dict.fromkeys(options.files))
    for path in paths:
        try:
            logs.append(read_log(path))
        except DataError as error:
            problems += error.problems
    if problems:
        raise DataError(problems)
    logs = _told_apart(logs, paths)
    verdicts = [judge(log) for log in logs]
    drawn = draw_logs(logs, verdicts, options.chart)
    if options.json:
        chart = options.chart if drawn else None
        print(json.dumps(finite(_as_json(logs, verdicts, chart)), indent=1, ensure_ascii=False))
        return 0
    out = console()
    for log, verdict in zip(logs, verdicts, strict=True):
        _show(out, log, verdict)
    if len(logs) > 1:
        out.print(_side_by_side(logs, verdicts))
        out.print()
        say(out, Text(compare(logs), style="bold"))
        out.print()
    say(out, f"The curves: {options.chart}" if drawn else "There is nothing to draw.")
    return 0


def _told_apart(logs: list[TrainingLog], paths: list[Path]) -> list[TrainingLog]:
    """Logs of one name are called by their paths."""
    names = [log.name for log in logs]
    return [
        replace(log, name=str(path)) if names.count(log.name) > 1 else log
        for log, path in zip(logs, paths, strict=True)
    ]


def _show(out: Console, log: TrainingLog, verdict: Verdict) -> None:
    say(out, Text.assemble((log.name, "bold cyan"), f": {_extent(log)}"))
    say(out, Text.assemble("  ", (f"{verdict.word[0].upper()}{verdict.word[1:]}. ", "bold"), verdict.reason))
    for sentence in (verdict.advice, *verdict.notes):
        if sentence:
            say(out, f"  {sentence}")
    out.print()
    table = Table(box=None, padding=(0, 2, 0, 2), header_style="dim")
    table.add_column("")
    for heading in ("first", "last", "lowest", "highest"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("what it is", overflow="fold")
    for name in log.names():
        points = log.points(name)
        numbers = [value for _, value in finite_points(points)]
        ends = (min(numbers), max(numbers)) if numbers and name not in _AXES else ()
        table.add_row(
            name, plain(points[0][1]), plain(points[-1][1]), *(map(plain, ends) if ends else ("", "")), meaning(name)
        )
    for name, value in log.totals.items():
        table.add_row(name, "", plain(value), "", "", meaning(name))
    out.print(table)
    out.print()


def _extent(log: TrainingLog) -> str:
    parts = [log.form]
    if log.entries:
        parts.append(f"{count_entries(len(log.entries))} on {log.lines:,} lines")
    epochs = [entry.metrics["epoch"] for entry in log.entries if "epoch" in entry.metrics]
    if epochs:
        parts.append(f"{epochs[-1]:,.4g} epochs")
    times = [entry.time for entry in log.entries if entry.time is not None]
    if len(times) > 1 and times[-1] > times[0]:
        minutes = (times[-1] - times[0]) / 60
        parts.append(f"{minutes:,.0f} minutes" if minutes >= 2 else f"{60 * minutes:.0f} seconds")
    return ", ".join(parts)


def _side_by_side(logs: list[TrainingLog], verdicts: list[Verdict]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for heading in ("log", "last loss", "lowest eval loss", "tokens a second", "verdict"):
        table.add_column(heading, justify="left" if heading in ("log", "verdict") else "right", overflow="fold")
    for log, verdict in zip(logs, verdicts, strict=True):
        losses, speeds = log.points("loss"), log.points("throughput")
        evaluations = [value for _, value in finite_points(log.points("eval_loss"))]
        table.add_row(
            log.name,
            plain(losses[-1][1]) if losses else "",
            plain(min(evaluations)) if evaluations else "",
            f"{speeds[-1][1]:,.0f}" if speeds else "",
            verdict.word,
        )
    return table


def _as_json(logs: list[TrainingLog], verdicts: list[Verdict], chart: Path | None) -> dict[str, object]:
    return {
        "logs": [
            {
                "name": log.name,
                "form": log.form,
                "verdict": asdict(verdict),
                "metrics": {name: {"meaning": meaning(name), "points": log.points(name)} for name in log.names()},
                "axis": log.axis(),
                "totals": dict(log.totals),
                "broken": [asdict(each) for each in log.broken],
            }
            for log, verdict in zip(logs, verdicts, strict=True)
        ],
        "comparison": compare(logs) if len(logs) > 1 else None,
        "chart": None if chart is None else str(chart),
    }
