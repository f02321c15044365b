"""Follow a study from another terminal until it ends: how far it is, its best score and trend, grades, differences from
the reference values, alerts, and a line for each item that is new.

Reads study.json and the outputs only, so that it costs the study nothing; knows nothing of how a study runs. Exit code
1 if the study has failed.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from rich.console import Console
from rich.text import Text

from tuner.cli.find import add_results, add_study, find_study
from tuner.cli.terminal import console, say
from tuner.errors import ConfigError, Problem, StoreError
from tuner.monitor.lines import command, number, round_lines
from tuner.monitor.look import Look, look
from tuner.report.trials import format_seconds
from tuner.store.records import FAILED

LONGEST = 86_400.0
SHOWN = 20  # items of one round that are printed
STYLES = {"excellent": "bold green", "good": "green", "average": "yellow", "poor": "red"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `tuner monitor`."""
    add_study(parser)
    parser.add_argument(
        "--interval", type=float, default=30.0, metavar="SECONDS", help="time between two looks, at least 1 (30)"
    )
    shape = parser.add_mutually_exclusive_group()
    shape.add_argument("--dashboard", action="store_true", help="fill the terminal with what is now, and redraw it")
    shape.add_argument("--once", action="store_true", help="look once and end, for scripts")
    add_results(parser)


def execute(options: argparse.Namespace) -> int:
    """Print rounds until the study has ended. 0, or 1 if the study failed. Raises ConfigError for options that cannot
    be, StudyError if there is no such study, StoreError if it vanishes or, looked at once, cannot be read."""
    out = console()
    _check(options, out)
    folder = _folder(options.results, options.study)
    rounds = _rounds(folder, options.interval, options.once)
    last = _dashboard(out, folder, rounds, options) if options.dashboard else _print(out, folder, rounds, options)
    if last.ended and not options.once:
        say(out, f"Study {last.record.name} has ended. All of it: {command('tuner status', folder)}")
    return 1 if last.record.state == FAILED else 0


def item_line(
    name: str,
    grade: str,
    total_loss: float | None,
    similarities: Mapping[str, float | None],
    score: float | None = None,
) -> Text:
    """ "image_1.jpg: EXCELLENT  loss 0.312  visual 0.71  fashion 0.82", and the overall score of a trial. What was not
    measured (None, NaN) is n/a."""
    values = [f"loss {number(total_loss, 3)}", *(f"{key} {number(value, 2)}" for key, value in similarities.items())]
    if score is not None:
        values.append(f"score {number(score, 4)}")
    return Text.assemble(f"{name}: ", (grade.upper(), STYLES.get(grade, "dim")), "  ", "  ".join(values))


class Items:
    """The lines of items, of which only those that have changed since the last round are new."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {}

    def fresh(self, seen: Look) -> list[Text]:
        """Lines of this look that the last one did not have, the newest trials last."""
        lines = []
        for item in seen.items:
            line = item_line(item.name, item.grade, item.total_loss, item.similarities, seen.scores.get(item.name))
            if self._known.get(item.name) != line.plain:
                self._known[item.name] = line.plain
                lines.append(line)
        return lines


def _check(options: argparse.Namespace, out: Console) -> None:
    problems = []
    if not 1 <= options.interval <= LONGEST:
        problems.append(Problem("--interval", options.interval, f"must lie between 1 and {LONGEST:,.0f} seconds"))
    if options.dashboard and (not out.is_terminal or out.is_dumb_terminal):
        rule = "needs a terminal that can be redrawn, and the output goes to none"
        problems.append(Problem("--dashboard", True, rule, "Leave it out to get lines."))
    if problems:
        raise ConfigError(problems)


def _folder(results: Path, name: str | None) -> Path:
    try:
        return find_study(results, name)[0]
    except StoreError:
        # the study is there, and its record may be readable in a moment
        return results / str(name)


def _rounds(folder: Path, interval: float, once: bool) -> Iterator[Look | StoreError]:
    """Looks at a study until it has ended, and why one failed where another may do better."""
    while True:
        try:
            seen = look(folder)
        except StoreError as error:
            if once or not (folder / "study.json").exists():
                raise
            yield error
        else:
            yield seen
            if once or seen.ended:
                return
        time.sleep(interval)


def _print(out: Console, folder: Path, rounds: Iterator[Look | StoreError], options: argparse.Namespace) -> Look:
    items = Items()
    last: Look | None = None
    before: list[str] = []
    for each in rounds:
        if isinstance(each, StoreError):
            say(out, _trouble(each, options.interval))
            continue
        last = each
        state, *rest = round_lines(each, folder, options.interval, _blocks(out))
        fresh = items.fresh(each)
        said, before = before, [line.plain for line in rest]
        if said == before and not fresh:
            say(out, Text.assemble(state, "; nothing new"))
            continue
        for line in (state, *rest):
            say(out, line)
        _say_items(out, folder, fresh, done=bool(each.standing.items))
    assert last is not None  # rounds end with a look
    return last


def _say_items(out: Console, folder: Path, fresh: list[Text], done: bool) -> None:
    """The items' lines: of a study that is `done` the first outputs, else the newest trials."""
    for line in fresh[:SHOWN] if done else fresh[-SHOWN:]:
        say(out, Text.assemble("  ", line))
    if len(fresh) > SHOWN:
        place = command("tuner report" if done else "tuner status", folder)
        say(out, f"  and {len(fresh) - SHOWN:,} more, which are all in: {place}")


def _dashboard(out: Console, folder: Path, rounds: Iterator[Look | StoreError], options: argparse.Namespace) -> Look:
    from rich.live import Live

    from tuner.monitor.dashboard import dashboard

    items = Items()
    last: Look | None = None
    newest: list[Text] = []
    with Live(console=out, screen=True, auto_refresh=False) as live:
        for each in rounds:
            if isinstance(each, StoreError):
                trouble = [_trouble(each, options.interval)]
            else:
                last, trouble = each, []
                newest = [*newest, *items.fresh(each)][-SHOWN:]
            lines = round_lines(last, folder, options.interval, _blocks(out)) if last else []
            live.update(dashboard(last, [*trouble, *lines], newest), refresh=True)
    assert last is not None  # rounds end with a look
    for line in round_lines(last, folder, options.interval, _blocks(out)):
        say(out, line)  # the screen is given back: what it showed last would be gone
    return last


def _trouble(error: StoreError, interval: float) -> Text:
    return Text(f"{error} Trying again in {format_seconds(interval)}.", style="yellow")


def _blocks(out: Console) -> bool:
    return (out.encoding or "").lower().startswith("utf")
