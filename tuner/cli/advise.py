"""Advise on the next round of a study: for each hyperparameter a rule of thumb beside what the study's own trials say,
each with its reason; targets; and whether another round is worth it. --apply writes the next round's config.

Says what the study's report says. The config follows the trials' evidence; the rules of thumb are for you to weigh.
"""

from __future__ import annotations

import argparse
import json
import shlex
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tuner.cli.find import add_results, add_study, find_study
from tuner.cli.terminal import console, say
from tuner.errors import ConfigError, Problem
from tuner.monitor.lines import command as command_on
from tuner.report.next_round import next_space
from tuner.report.schema import AdvicePart, ConvergencePart, TargetPart, TrainingReport
from tuner.report.trials import listed, value_text
from tuner.store.files import write_text
from tuner.store.records import StudyRecord

_DEFAULT = Path("next_round.yaml")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `tuner advise`."""
    add_study(parser)
    parser.add_argument(
        "--apply",
        type=Path,
        nargs="?",
        const=True,
        metavar="FILE",
        help="write the next round's config (next_round.yaml in the study's folder)",
    )
    add_results(parser)
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")


def execute(options: argparse.Namespace) -> int:
    """Print the advice, and write the next round's config if asked to. Raises StudyError if there is no study or, for
    --apply, no trial with a score; ConfigError for a file that is there already; StoreError when it cannot be
    written."""
    folder, record = find_study(options.results, options.study)
    target = folder / _DEFAULT if options.apply is True else options.apply
    if target is not None and target.suffix not in (".yaml", ".yml"):
        cure = f"If it is a study: tuner advise {shlex.quote(str(target))} --apply"
        raise ConfigError(Problem("--apply", str(target), "does not end in .yaml", cure))
    if target is not None and target.exists():
        cure = "Name another: --apply FILE."
        raise ConfigError(Problem("--apply", str(target), "the file is there already", cure))
    from tuner.report.analysis import analyse

    report = analyse(folder, record, time.time())
    if target is not None:
        write_text(target, next_space(record, report.advice))
    command = None if target is None else _command(options.results, record, target)
    if options.json:
        found = report.model_dump(mode="json", include={"advice", "targets", "convergence"})
        written = None if target is None else str(target)
        found = {"study": record.name, **found, "config": written, "command": command}
        print(json.dumps(found, indent=1, ensure_ascii=False))
        return 0
    out = console()
    print_advice(out, report)
    out.print()
    if command is None:
        say(out, f"Write the next round's config: {command_on('tuner advise', folder)} --apply")
        return 0
    changed = [each.hyperparameter.replace("_", " ") for each in report.advice if each.entry is not None]
    say(out, f"Wrote {target}: {f'changes {listed(changed)}' if changed else 'the space stays as it is'}. Run it:")
    say(out, f"  {command}")
    return 0


def print_advice(out: Console, report: TrainingReport) -> None:
    """A report's advice, targets and convergence."""
    if report.advice:
        out.print(_table(report.advice, out.width))
        out.print()
    _print_targets(out, report.targets)
    _print_convergence(out, report.convergence)


def _table(advice: Sequence[AdvicePart], width: int) -> Table:
    """Rule of thumb beside evidence, each above its reason."""
    table = Table(box=None, padding=(0, 2, 1, 0), header_style="bold")
    table.add_column("hyperparameter", no_wrap=True)
    table.add_column("now", overflow="fold", max_width=max(14, width // 5))
    table.add_column("rule of thumb", ratio=2)
    table.add_column("what the trials say", ratio=3)
    for each in advice:
        rule = "" if each.rule_of_thumb is None else f"{value_text(each.rule_of_thumb)}\n"
        table.add_row(
            each.hyperparameter.replace("_", " "),
            each.now or "-",
            Text.assemble((rule, "bold"), (each.rule_reason, "dim")),
            Text.assemble(
                (each.evidence, "bold green" if each.entry is not None else "bold"), "\n", (each.evidence_reason, "dim")
            ),
        )
    return table


def _print_targets(out: Console, targets: Sequence[TargetPart]) -> None:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("target of the next round")
    for heading in ("now", "target"):
        table.add_column(heading, justify="right")
    table.add_column("")
    for each in targets:
        table.add_row(
            each.title,
            "not measured" if each.now is None else f"{each.now:.3f}",
            "-" if each.target is None else f"{each.target:.3f}",
            "reached" if each.reached else "",
        )
    out.print(table)
    out.print()


def _print_convergence(out: Console, convergence: ConvergencePart) -> None:
    say(
        out,
        Text("Another round is not needed." if convergence.converged else "Another round is worth it.", style="bold"),
    )
    for sentence in convergence.reasons:
        say(out, Text.assemble(("  + ", "green"), sentence))
    for sentence in convergence.missing:
        say(out, Text.assemble(("  - ", "yellow"), sentence))


def _command(results: Path, record: StudyRecord, config: Path) -> str:
    """What runs the next round. The config knows the results folder that the study was begun with."""
    moved = Path(record.config.get("results", "results")) != results
    return f"tuner tune {record.task} --config {shlex.quote(str(config))}" + (
        f" --results {shlex.quote(str(results))}" if moved else ""
    )
