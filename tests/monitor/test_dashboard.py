"""Tests of tuner/monitor/dashboard.py: the whole screen."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.text import Text

from tests.store.factory import study, trial
from tuner.monitor.dashboard import ROWS, dashboard
from tuner.monitor.look import look
from tuner.store.files import write_study
from tuner.store.records import COMPLETE, FAILED, PRUNED, RUNNING


def shown(screen: object, width: int) -> list[str]:
    """The lines of a screen so many characters wide."""
    out = Console(file=io.StringIO(), width=width)
    out.print(screen)
    return [line.rstrip() for line in out.file.getvalue().splitlines()]  # type: ignore[attr-defined]


def test_lines_then_running_then_best_then_items(tmp_path: Path) -> None:
    trials = [trial(n, PRUNED if n % 2 else COMPLETE) for n in range(12)]
    trials += [trial(12, FAILED), trial(13, RUNNING), replace(trial(14, RUNNING), reports=(), best=None)]
    write_study(tmp_path, replace(study(trials=0, state=RUNNING, winner=None), trials=tuple(trials)))
    items = [Text(f"trial {n}: GOOD") for n in range(20)]
    for width in (70, 200):
        lines = shown(dashboard(look(tmp_path), [Text("reviews is running"), Text("  Alert")], items), width)
        assert lines[:2] == ["reviews is running", "  Alert"]
        running, best, newest = (
            lines.index(title) for title in ("Running", "Best of those that ended   and 4 more", "Newest")
        )
        assert lines[running + 1].split() == ["trial", "state", "score", "samples", "configuration"]
        assert [line.split()[0] for line in lines[running + 2 : best - 1]] == ["13", "14"]
        rows = lines[best + 2 : newest - 1]
        assert len(rows) == ROWS
        scores = [float(row.replace("stopped early", "stopped").split()[2]) for row in rows]
        assert scores == sorted(scores, reverse=True)
        assert all(("rank" in row) and (width == 200 or row.endswith("…")) for row in rows), "one line a trial"
        assert lines[newest + 1 :] == [f"trial {n}: GOOD" for n in range(20 - ROWS, 20)]


def test_before_the_first_look_there_are_lines_only() -> None:
    assert shown(dashboard(None, [Text("cannot be read")], []), 80) == ["cannot be read"]


def test_a_study_without_a_trial(tmp_path: Path) -> None:
    write_study(tmp_path, study(trials=0, state=RUNNING, winner=None))
    assert shown(dashboard(look(tmp_path), [Text("reviews is running")], []), 80) == ["reviews is running"]
