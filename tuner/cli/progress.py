"""Progress of a running study: a live display on a terminal, plain lines elsewhere, nothing when quiet.

All three are observers of a study (`tuner/study/study.py`) and context managers, so that the terminal is given back
even when the study raises. Knows nothing of how trials run; `study_state.py` keeps the books.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from tuner.cli.study_state import (
    PHASES,
    StudyState,
    describe_params,
    format_value,
    samples_of,
    searched_names,
    sparkline,
)
from tuner.engine.contract import Report
from tuner.report.trials import format_seconds
from tuner.store.records import COMPLETE, PRUNED, StudyRecord, TrialRecord

HEARTBEAT_SECONDS = 15.0
ROWS_SHOWN = 8
SPARKLINE_WIDTH = 32


class QuietProgress:
    """Follows a study and shows nothing. `clock` gives seconds and never runs backwards."""

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self.console = console
        self.clock = clock
        self.state: StudyState | None = None
        # A study calls from its own thread while a display reads from another.
        self.lock = threading.RLock()

    def on_start(self, record: StudyRecord) -> None:
        """The study begins, or begins again."""
        state = StudyState(record, self.clock())
        with self.lock:
            self.state = state
        # Not under the lock: what prints waits for a live display, which may be waiting for the lock to draw itself.
        self.started(state)

    def on_report(self, trial: TrialRecord, report: Report) -> None:
        """A trial has reached a report."""
        with self.lock:
            if self.state is not None:
                self.state.update(trial)

    def on_trial_end(self, trial: TrialRecord) -> None:
        """A trial has ended, in whatever state."""
        with self.lock:
            if self.state is not None:
                self.state.update(trial)
                if self.state.phase == "search":
                    self.trial_ended(self.state, trial)

    def on_phase(self, name: str) -> None:
        """The study goes on to "search", "rerun" or "export"."""
        with self.lock:
            if self.state is not None and name != self.state.phase:
                self.state.enter(name, self.clock())
                self.phase_began(self.state)

    def on_end(self, record: StudyRecord) -> None:
        """The study is over: done or interrupted."""
        self.close()

    def say(self, text: str) -> None:
        """Show a line that is none of the progress, as an alert is. From the study's thread."""

    def started(self, state: StudyState) -> None:
        """What to show when the study begins."""

    def trial_ended(self, state: StudyState, trial: TrialRecord) -> None:
        """What to show when a trial has ended."""

    def phase_began(self, state: StudyState) -> None:
        """What to show when a phase begins."""

    def close(self) -> None:
        """Give the terminal back. May be called twice."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class LineProgress(QuietProgress):
    """One line a finished trial, and one after every 15 silent seconds: for logs, pipes and cluster jobs."""

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(console, clock)
        self.last_line = clock()
        self.closed = threading.Event()
        self.thread = threading.Thread(target=self._beat_until_closed, name="progress", daemon=True)

    def started(self, state: StudyState) -> None:
        record = state.record
        engines = ", ".join(describe_engine(engine) for engine in record.engines)
        self._line(f"Study {record.name}: {state.wanted} trials of {record.task} on {record.base_model}")
        if engines:
            self._line(f"Engines: {engines}")
        for warning in record.data.get("warnings", ()):
            self._line(f"Warning: {warning}")

    def trial_ended(self, state: StudyState, trial: TrialRecord) -> None:
        what = {COMPLETE: "is complete", PRUNED: "was stopped early"}.get(trial.state, trial.state)
        score = "no score" if trial.score is None else f"score {trial.score:.4f}"
        params = describe_params(trial.params, searched_names(state.record))
        why = f" ({trial.message})" if trial.message and trial.state != COMPLETE else ""
        best = f", best {state.best.score:.4f}" if state.best is not None else ""
        self._line(
            f"Trial {trial.number} {what}{why}: {score} after {samples_of(trial):,} samples, {params}. "
            f"{state.ended} of {state.wanted} done{best}"
        )

    def phase_began(self, state: StudyState) -> None:
        self._line(PHASES.get(state.phase, state.phase).capitalize())

    def say(self, text: str) -> None:
        self._line(text)

    def beat(self) -> None:
        """Print where the study stands if the last line is 15 s old or older."""
        with self.lock:
            if self.state is not None and self.clock() - self.last_line >= HEARTBEAT_SECONDS:
                self._line(standing(self.state, self.clock()))

    def close(self) -> None:
        self.closed.set()
        if self.thread.is_alive() and threading.current_thread() is not self.thread:
            self.thread.join()

    def __enter__(self) -> Self:
        self._line("Starting the engines")
        self.thread.start()
        return self

    def _beat_until_closed(self) -> None:
        while not self.closed.wait(1.0):
            try:
                self.beat()
            except (OSError, ValueError):  # nobody reads what is printed any more
                return

    def _line(self, text: str) -> None:
        self.last_line = self.clock()
        self.console.print(f"{time.strftime('%H:%M:%S')} {text}", markup=False, highlight=False, soft_wrap=True)


class LiveProgress(QuietProgress):
    """A display that redraws itself in place on a terminal, four times a second."""

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(console, clock)
        # Transient: the summary that follows says all that is worth keeping.
        self.live = Live(console=console, get_renderable=self.render, refresh_per_second=4, transient=True)

    def __enter__(self) -> Self:
        self.live.start()
        return self

    def started(self, state: StudyState) -> None:
        for warning in state.record.data.get("warnings", ()):
            self.say(f"Warning: {warning}")

    def say(self, text: str) -> None:
        # Above the display, which the console moves down. The text has the style and is folded: what is asked of
        # `print` would count for the display as well.
        self.console.print(Text(text, style="yellow"))

    def close(self) -> None:
        self.live.stop()

    def render(self) -> RenderableType:
        """The display as it should look now."""
        with self.lock:
            state = self.state
            if state is None:
                return Text("Starting the engines", style="dim")
            parts: list[RenderableType] = [_header(state, self.clock()), _bar(state, self.clock())]
            parts += _best(state, self.console)
            if rungs := state.rungs():
                shown = "   ".join(f"{samples:,}: {count}" for samples, count in rungs)
                parts.append(Text.assemble(("Rungs   ", "bold"), f"{shown}   (samples seen: trials that got there)"))
            if state.in_view:
                parts.append(_running(state))
            return Group(*parts)


def make_progress(console: Console, *, quiet: bool = False) -> QuietProgress:
    """The display that suits where the output goes: live on a capable terminal, lines elsewhere."""
    if quiet:
        return QuietProgress(console)
    return LiveProgress(console) if console.is_terminal and not console.is_dumb_terminal else LineProgress(console)


def standing(state: StudyState, now: float) -> str:
    """One sentence that says how far the study is."""
    left = state.seconds_left(now)
    if state.phase != "search":
        done = f": {state.retrained} of {state.retrain} done" if state.phase == "rerun" else ""
        more = f", about {format_seconds(left)} left" if left is not None else ""
        return PHASES.get(state.phase, state.phase).capitalize() + done + more
    if state.best is None and not state.ended:
        return f"Training; none of {state.wanted} trials has reported yet"
    best = f", best score {state.best.score:.4f}" if state.best is not None else ""
    return state.counts() + best + (f", about {format_seconds(left)} left in the search" if left is not None else "")


def describe_engine(engine: dict[str, object]) -> str:
    """ "engine-0 on cpu in bf16, up to 8 at once"."""
    name, device, dtype = (engine.get(key) for key in ("name", "device", "dtype"))
    return f"{name} on {device} in {dtype}, up to {engine.get('max_pack')} at once"


def _header(state: StudyState, now: float) -> Text:
    elapsed = format_seconds(now - state.began)
    phase = PHASES.get(state.phase, state.phase) + (
        f", {state.retrained} of {state.retrain} done" if state.phase == "rerun" else ""
    )
    return Text.assemble((state.record.name, "bold cyan"), f"   {phase}   {elapsed}")


def _bar(state: StudyState, now: float) -> Table:
    left = state.seconds_left(now)
    row = Table.grid(padding=(0, 2))
    row.add_row(
        Text("Trials ", style="bold"),
        ProgressBar(total=max(1, state.wanted), completed=state.ended, width=24),
        Text(state.counts() + (f", about {format_seconds(left)} left" if left is not None else "")),
    )
    return row


def _best(state: StudyState, console: Console) -> list[RenderableType]:
    best = state.best
    if best is None:
        return [Text.assemble(("Best    ", "bold"), "no report yet")]
    params = describe_params(best.params, searched_names(state.record))
    line = Text.assemble(("Best    ", "bold"), (f"{best.score:.4f}", "bold green"), f"   trial {best.number}: {params}")
    if not (console.encoding or "").lower().startswith("utf") or len(state.best_history) < 2:
        return [line]
    return [line, Text.assemble("        ", (sparkline(state.best_history, SPARKLINE_WIDTH), "green"))]


def _running(state: StudyState) -> Table:
    names = searched_names(state.record)
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("trial", justify="right")
    table.add_column("engine")
    table.add_column("samples", justify="right")
    table.add_column("score", justify="right")
    for name in names:
        table.add_column(name.replace("_", " "), justify="right")
    shown = state.in_view[:ROWS_SHOWN]
    for trial in shown:
        score = "" if trial.score is None else f"{trial.score:.4f}"
        values = [format_value(trial.params[name]) if trial.params.get(name) is not None else "" for name in names]
        table.add_row(str(trial.number), trial.engine, f"{samples_of(trial):,}", score, *values)
    if hidden := len(state.in_view) - len(shown):
        table.caption = f"and {hidden} more"
    return table
