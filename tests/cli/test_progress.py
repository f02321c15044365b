"""Progress on a terminal, into a pipe, and quiet."""

from __future__ import annotations

import io
import re
from dataclasses import replace

import pytest
from rich.console import Console

from tests.cli.samples import record, trial
from tuner.cli.progress import LineProgress, LiveProgress, QuietProgress, make_progress
from tuner.engine.contract import Report
from tuner.store.records import COMPLETE, PRUNED, RUNNING, TrialRecord


class Clock:
    """Time that passes when it is told to."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def pipe() -> tuple[Console, io.StringIO]:
    stream = io.StringIO()
    return Console(file=stream, highlight=False), stream


def terminal() -> tuple[Console, io.StringIO]:
    stream = io.StringIO()
    return Console(file=stream, force_terminal=True, width=100, highlight=False), stream


def report_of(made: TrialRecord) -> Report:
    return Report(made.trial_id, len(made.reports), int(made.reports[-1]["samples"]), False, made.reports[-1])


def lines_of(stream: io.StringIO) -> list[str]:
    return [re.sub(r"^\d\d:\d\d:\d\d ", "", line) for line in stream.getvalue().splitlines()]


def test_the_display_suits_the_output(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    assert type(make_progress(pipe()[0])) is LineProgress
    assert type(make_progress(terminal()[0])) is LiveProgress
    assert type(make_progress(terminal()[0], quiet=True)) is QuietProgress
    monkeypatch.setenv("TERM", "dumb")
    assert type(make_progress(terminal()[0])) is LineProgress


def test_a_pipe_gets_one_line_a_finished_trial() -> None:
    console, stream = pipe()
    with LineProgress(console, Clock()) as progress:
        progress.on_start(replace(record(), trials=()))
        for made in (trial(0, RUNNING, [0.6]), trial(0, RUNNING, [0.6, 0.7])):
            progress.on_report(made, report_of(made))
        progress.on_trial_end(trial(0, COMPLETE, [0.6, 0.7]))
        progress.on_trial_end(trial(1, PRUNED, [0.5], message="low at 500 samples"))
        progress.on_phase("rerun")
        progress.on_end(record())
    assert lines_of(stream) == [
        "Starting the engines",
        "Study reviews: 8 trials of sentiment on minilm",
        "Engines: engine-0 on cpu in bf16, up to 8 at once",
        "Trial 0 is complete: score 0.7000 after 1,000 samples, rank 8, learning rate 0.00123, epochs 2. "
        "1 of 8 done, best 0.7000",
        "Trial 1 was stopped early (low at 500 samples): score 0.5000 after 500 samples, rank 8, "
        "learning rate 0.00123, epochs 2. 2 of 8 done, best 0.7000",
        "Running the best again over more seeds",
    ]
    assert "\x1b" not in stream.getvalue()
    assert not progress.thread.is_alive()


def test_a_heartbeat_after_fifteen_silent_seconds_and_no_sooner() -> None:
    console, stream = pipe()
    clock = Clock()
    progress = LineProgress(console, clock)
    progress.on_start(replace(record(), trials=()))
    made = trial(0, RUNNING, [0.6])
    progress.on_report(made, report_of(made))
    before = len(lines_of(stream))
    clock.now = 14.9
    progress.beat()
    assert len(lines_of(stream)) == before
    clock.now = 15.0
    progress.beat()
    progress.beat()
    # 500 samples in 15 s; 1,500 of this trial and 7 times 2,000 are still to come.
    expected = "0 of 8 trials done, 1 running, best score 0.6000, about 7 min 45 s left in the search"
    assert lines_of(stream)[before:] == [expected]


def test_a_terminal_shows_trials_best_rungs_and_time_left() -> None:
    console, _stream = terminal()
    clock = Clock()
    progress = LiveProgress(console, clock)
    progress.on_start(replace(record(), trials=()))
    for number, scores in ((0, [0.6]), (0, [0.6, 0.7]), (1, [0.65])):
        made = trial(number, RUNNING, scores)
        progress.on_report(made, report_of(made))
    clock.now = 30.0
    plain = Console(file=io.StringIO(), width=100)
    plain.print(progress.render())
    shown = plain.file.getvalue()  # type: ignore[attr-defined]
    assert "reviews   searching   30 s" in shown
    assert "0 of 8 trials done, 2 running, about 4 min 50 s left" in " ".join(shown.split())
    assert "0.7000   trial 0: rank 8, learning rate 0.00123, epochs 2" in shown
    assert "▁██" in shown
    assert "500: 2   1,500: 0" in shown
    assert re.search(r"0\s+engine-0\s+1,000\s+0\.7000\s+8\s+0\.00123\s+2", shown)


def test_the_display_is_taken_away_when_a_study_raises() -> None:
    console, stream = terminal()
    progress = LiveProgress(console)

    def study() -> None:
        with progress:
            progress.on_start(record())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        study()
    assert not progress.live.is_started
    assert stream.getvalue().count("\x1b[?25l") == stream.getvalue().count("\x1b[?25h")  # the cursor is shown again


def test_only_so_many_running_trials_are_listed() -> None:
    progress = LiveProgress(terminal()[0], Clock())
    progress.on_start(replace(record(), trials=()))
    for number in range(11):
        made = trial(number, RUNNING, [0.6])
        progress.on_report(made, report_of(made))
    plain = Console(file=io.StringIO(), width=100)
    plain.print(progress.render())
    assert "and 3 more" in plain.file.getvalue()  # type: ignore[attr-defined]


def test_quiet_prints_nothing() -> None:
    console, stream = pipe()
    with make_progress(console, quiet=True) as progress:
        progress.on_start(record())
        made = trial(4, RUNNING, [0.9])
        progress.on_report(made, report_of(made))
        progress.on_trial_end(trial(4, COMPLETE, [0.9]))
        progress.on_phase("rerun")
        progress.on_end(record())
    assert stream.getvalue() == ""
