"""What one look at a study says of the study as a whole, line by line, for the terminal.

Plain short lines, each with its label, that read as well in a pipe. Knows nothing of items or of when they are printed.
"""

from __future__ import annotations

import math
import shlex
import time
from pathlib import Path

from rich.text import Text

from tuner.cli.study_state import StudyState, describe_params, searched_names, sparkline
from tuner.monitor.look import Look
from tuner.report.standing import best_trial
from tuner.report.trials import format_seconds
from tuner.score import grade
from tuner.score_benchmark import TOTAL_LOSS, UNMEASURED, distribution, versus_reference
from tuner.store.records import RUNNING

SILENCE = 300.0  # seconds without a change of study.json that are worth a word
WIDTH = 32  # characters of the trend


def round_lines(seen: Look, folder: Path, interval: float, blocks: bool = True) -> list[Text]:
    """What one look says of the study as a whole. `blocks` draws the trend, on a terminal that can."""
    lines = [_state(seen), _best(seen), _trend(seen, blocks), _grades(seen), _measures(seen)]
    if references := versus_reference(seen.standing.averages, seen.settings.judged_by):
        lines.append(_row("vs refs", ", ".join(_difference(name, value) for name, value in references.items())))
    if seen.missing:
        lines.append(Text(f"  {seen.missing}", style="yellow"))
    if not seen.ended and seen.silent > max(SILENCE, 4 * interval):
        ago = format_seconds(seen.silent)
        what = f"study.json has not changed for {ago}: the study may have died, or a report of it takes long."
        resume = command("tuner tune --resume", folder)
        lines.append(Text(f"  {what} If it has died, this goes on with it: {resume}", style="yellow"))
    for alert in seen.alerts:
        style = "bold red" if alert.level == "critical" else "yellow"
        lines.append(Text.assemble("  ", (f"Alert ({alert.level}): ", style), alert.message))
    return lines


def command(command: str, folder: Path) -> str:
    """A command on this study, ready for a shell."""
    results = "" if folder.parent == Path("results") else f" --results {shlex.quote(str(folder.parent))}"
    return f"{command} {shlex.quote(folder.name)}{results}"


def number(value: float | None, digits: int) -> str:
    """A number with so many digits behind the point; n/a for what was not measured."""
    return "n/a" if value is None or not math.isfinite(value) else f"{value:.{digits}f}"


def _state(seen: Look) -> Text:
    record, state = seen.record, StudyState(seen.record, 0.0)
    clock = time.strftime("%H:%M:%S", time.localtime(seen.now))
    of = f" of {state.retrain}" if state.retrain >= len(record.reruns) else ""  # resumed with another top k
    reruns = f", {len(record.reruns)}{of} re-runs done" if record.reruns else ""
    took = format_seconds(max(0.0, (record.finished or seen.now) - record.created))
    since = "since it began" if record.state == RUNNING else "in all"
    counts = f" is {record.state}: {state.counts()}{reruns}, {took} {since}"
    return Text.assemble((f"{clock} ", "dim"), (record.name, "bold cyan"), counts)


def _best(seen: Look) -> Text:
    record, winner, best = seen.record, seen.record.winner, best_trial(seen.record)
    names = searched_names(record)
    word = grade(seen.standing.overall, seen.settings.bands["overall"])
    if winner is not None:
        number = next((t.number for t in record.trials if t.trial_id == winner.trial_id), winner.trial_id)
        params = describe_params(winner.params, names)
        seeds = f"the mean of {winner.seeds} seeds" if winner.seeds > 1 else "one seed"
        return _row("winner", f"{winner.score:.4f} ({word}), {seeds}, trial {number}: {params}")
    if best is None or best.score is None:
        return _row("best", "no trial has reported a score yet")
    return _row("best", f"{best.score:.4f} ({word}), trial {best.number}: {describe_params(best.params, names)}")


def _trend(seen: Look, blocks: bool) -> Text:
    """The best score so far, report by report, and what the newest quarter of the reports has brought."""
    scores = seen.best_scores
    if len(scores) < 2:
        return _row("trend", "there is none before the second report")
    window = max(1, len(scores) // 4)
    gain = scores[-1] - scores[-1 - window]
    reports = f"{window:,} reports" if window > 1 else "report"
    words = f"rising, by {gain:.4f} in the last {reports}" if gain > 0 else f"flat in the last {reports}"
    drawn = f"{sparkline(list(scores), WIDTH)}  " if blocks else ""
    return _row("trend", f"{drawn}{words}, from {scores[0]:.4f} to {scores[-1]:.4f} in all {len(scores):,}")


def _grades(seen: Look) -> Text:
    what = f"{len(seen.items):,} {seen.settings.judged_by.item}{'s' if len(seen.items) != 1 else ''}"
    if not seen.standing.items:
        what = f"{len(seen.items):,} trial{'s' if len(seen.items) != 1 else ''} at their best reports"
    if not seen.items:
        return _row("grades", "nothing to grade yet")
    if all(item.grade == UNMEASURED for item in seen.items):
        lacking = [m.title for m in seen.settings.judged_by.measures if math.isnan(seen.standing.averages[m.name])]
        when = "" if seen.standing.items else "; the winner's outputs are graded at the end"
        return _row("grades", f"none, as reports do not measure {', '.join(lacking)}{when}")
    return _row(
        "grades", f"{', '.join(f'{count} {word}' for word, count in distribution(seen.items).items())} of {what}"
    )


def _measures(seen: Look) -> Text:
    averages, bands = seen.standing.averages, seen.settings.bands
    named = {TOTAL_LOSS: bands[TOTAL_LOSS], **{each.name: each.band for each in seen.settings.judged_by.measures}}
    values = [
        f"{_title(name)} {number(averages[name], 3)}"
        + (f" ({grade(averages[name], band)})" if math.isfinite(averages[name]) else "")
        for name, band in named.items()
    ]
    return _row("measures", f"{', '.join(values)}: {seen.standing.source}")


def _difference(key: str, value: float) -> str:
    name = key.removeprefix("vs_reference_")
    if not math.isfinite(value):
        return f"{_title(name)} n/a"
    gain = -value if name == TOTAL_LOSS else value
    word = "better" if gain > 0 else "worse" if gain < 0 else "the same"
    return f"{_title(name)} {value:+.3f} ({word})"


def _row(label: str, text: str) -> Text:
    return Text.assemble((f"  {label:<9} ", "dim"), text)


def _title(name: str) -> str:
    return name.replace("_", " ")
