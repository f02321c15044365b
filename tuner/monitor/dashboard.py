"""A study on a whole screen: the lines of a round, tables of what runs and of the best trials, the newest items.

Turns a look into something that rich draws. Knows nothing of when it is drawn again.
"""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from tuner.cli.study_state import describe_params, samples_of, searched_names
from tuner.cli.summary import STYLES, WORDS
from tuner.monitor.look import Look
from tuner.store.records import RUNNING, TrialRecord

ROWS = 8


def dashboard(seen: Look | None, lines: Sequence[Text], items: Sequence[Text]) -> RenderableType:
    """The screen; without a look yet it has the lines only. What matters most stands first, as a screen that is too low
    cuts the rest off."""
    parts: list[RenderableType] = list(lines)
    if seen is None:
        return Group(*parts)
    names = searched_names(seen.record)
    running = [trial for trial in seen.record.trials if trial.state == RUNNING]
    scored = [trial for trial in seen.record.trials if trial.score is not None and trial.state != RUNNING]
    scored.sort(key=lambda trial: (-(trial.score or 0.0), trial.number))
    for title, trials in (("Running", running), ("Best of those that ended", scored)):
        if trials:
            parts += [Text(), _title(title, len(trials) - ROWS), *_rows(trials[:ROWS], names)]
    if items:
        parts += [Text(), Text("Newest", style="bold"), *items[-ROWS:]]
    return Group(*parts)


def _title(title: str, hidden: int) -> Text:
    return Text.assemble((title, "bold"), (f"   and {hidden:,} more" if hidden > 0 else "", "dim"))


def _rows(trials: Sequence[TrialRecord], names: list[str]) -> list[Text]:
    """A heading, and one line a trial, cut where the screen ends: a table would rather drop columns."""
    heading = f"{'trial':>5}  {'state':<13}  {'score':>6}  {'samples':>9}  configuration"
    lines = [Text(heading, "dim", no_wrap=True, overflow="ellipsis")]
    for trial in trials:
        score = "" if trial.score is None else f"{trial.score:.4f}"
        line = Text.assemble(
            f"{trial.number:>5}  ",
            (f"{WORDS.get(trial.state, trial.state):<13}  ", STYLES.get(trial.state, "")),
            f"{score:>6}  {samples_of(trial):>9,}  {describe_params(trial.params, names)}",
            no_wrap=True,
            overflow="ellipsis",
        )
        lines.append(line)
    return lines
