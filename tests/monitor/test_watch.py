"""Tests of tuner/monitor/watch.py: who is told of an alert, when, and how often."""

from __future__ import annotations

import io
import re
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tests.engine.null_engine import NULL_ENGINE
from tests.monitor.server import receiver
from tests.store.factory import study, trial
from tests.study.conftest import task_nothing
from tests.study.factory import make_config
from tuner.cli.observers import Observers
from tuner.cli.progress import LineProgress, LiveProgress, make_progress
from tuner.engine.contract import Report
from tuner.monitor.watch import Alarms
from tuner.store.outputs import Output, Outputs, write_outputs
from tuner.store.records import COMPLETE, FAILED, RUNNING, StudyRecord, TrialRecord

__all__ = ["task_nothing"]  # a fixture
LOW = {"score": 0.3, "accuracy": 0.9, "preservation": 0.9, "samples": 10.0}
HIGH = {**LOW, "score": 0.9}


class Clock:
    """Time that passes when it is told to."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def started(**alerts: Any) -> StudyRecord:
    """A study that has just begun; the disk is never too full."""
    record = study(trials=0, state=RUNNING, winner=None, finished=None)
    return replace(record, config={**record.config, "alerts": {"free_mb": 0, **alerts}})


def alarms(tmp_path: Path, said: list[str], clock: Clock, **settings: Any) -> Alarms:
    """Alarms of a study that has just begun."""
    made = Alarms(tmp_path, said.append, clock)
    made.on_start(started(**settings))
    return made


def scored(number: int, metrics: dict[str, float], state: str = COMPLETE) -> TrialRecord:
    """A trial with one report."""
    return replace(trial(number, state), reports=(metrics,), best=0)


def test_an_alert_is_announced_once_and_again_after_it_had_ceased(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    said: list[str] = []
    clock = Clock()
    made = alarms(tmp_path, said, clock)
    counts = []
    for number, metrics in enumerate([LOW, LOW, HIGH]):
        made.on_trial_end(scored(number, metrics))
        counts.append(len(said))
        clock.now += 1.0
    made.on_trial_end(scored(2, LOW))  # as if the best had been withdrawn
    counts.append(len(said))
    assert counts == [1, 1, 1, 2]
    assert said[0] == said[1]
    assert said[0].startswith("Alert (warning): The overall tuning score is 0.3 and should not be below 0.4")
    logged = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert logged[0].startswith("alert overall (warning): The overall")
    assert len(logged) == 2


def test_it_looks_once_a_second_at_most_and_always_at_the_end(tmp_path: Path) -> None:
    said: list[str] = []
    clock = Clock()
    made = alarms(tmp_path, said, clock)
    made.on_trial_end(scored(0, HIGH))
    clock.now += 0.5
    failed = [replace(trial(n, FAILED), message="nan") for n in range(1, 5)]
    for each in failed:
        made.on_trial_end(each)
    assert said == []
    made.on_end(replace(started(), state=COMPLETE, trials=(scored(0, HIGH), *failed)))
    assert ["failed, 80 %" in line for line in said] == [True, False]
    assert "not finite (NaN)" in said[1]


def test_reports_count_and_re_runs_are_no_trials(tmp_path: Path) -> None:
    said: list[str] = []
    clock = Clock()
    made = alarms(tmp_path, said, clock)
    made.on_phase("search")
    made.on_report(scored(0, HIGH, RUNNING), Report("t000", 0, 10, False, HIGH))
    made.on_trial_end(scored(1, LOW))
    assert said == [], "the best trial still runs"
    made.on_phase("rerun")
    clock.now += 5
    rerun = replace(scored(0, HIGH), trial_id="t000-seed-1", state=FAILED, message="nan")
    made.on_report(rerun, Report("t000-seed-1", 0, 10, False, HIGH))
    made.on_trial_end(rerun)
    assert said == []


def test_the_end_looks_at_the_winners_outputs(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    poor = Output("text_1", "a", "b", "c", "", {"label_probability": 0.1, "accuracy": 0.0, "preservation": 0.9})
    done = replace(study(), config=started().config, trials=tuple(t for t in study().trials if t.state != FAILED))
    said: list[str] = []
    whole = alarms(tmp_path, said, Clock())
    whole.on_end(done)
    assert said == []
    write_outputs(tmp_path / done.name, Outputs("t000", "test", (poor,)))
    alarms(tmp_path, said, Clock()).on_end(done)
    assert [line.split(",")[0] for line in said] == [
        "Alert (warning): The measure certainty",
        "Alert (warning): The measure accuracy",
    ]
    assert "(1 text of the winner on test rows)" in said[0]
    (tmp_path / done.name / "outputs" / "outputs.json").write_text("{")
    caplog.clear()
    alarms(tmp_path, said, Clock()).on_end(done)
    assert "the winner's outputs are not looked at for alerts" in caplog.text


@pytest.mark.parametrize("error", [BrokenPipeError(), UnicodeEncodeError("ascii", "…", 0, 1, "no such letter")])
def test_a_terminal_that_fails_silences_itself_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    calls = []

    def say(line: str) -> None:
        calls.append(line)
        raise error

    whole = Alarms(tmp_path, say, Clock())
    whole.on_start(started())
    metrics = {"score": 0.3, "accuracy": 0.1, "samples": 5.0}
    whole.on_trial_end(scored(0, metrics))
    assert len(calls) == 1
    assert caplog.text.count("alert overall (warning)") == 1
    assert caplog.text.count("alert accuracy (warning)") == 1


def test_a_report_is_looked_at_too(tmp_path: Path) -> None:
    said: list[str] = []
    running = scored(0, {"score": 0.3, "samples": 5.0}, RUNNING)
    report = Report(running.trial_id, 0, 5, False, {"score": 0.3})
    alarms(tmp_path, said, Clock()).on_report(running, report)
    assert any("overall" in line for line in said)


def test_a_study_that_ends_before_it_began(tmp_path: Path) -> None:
    Alarms(tmp_path, lambda line: None).on_end(started())


def test_the_webhook_gets_each_alert(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with receiver() as server:
        made = alarms(tmp_path, [], Clock(), webhook=f"{server.url}/hook")
        made.on_trial_end(scored(0, LOW))
        made.on_end(replace(started(), state=COMPLETE, trials=(scored(0, LOW), replace(trial(1, FAILED)))))
    assert [(body["alert"], body["study"], body["task"]) for body in server.bodies] == [
        ("overall", "reviews", "sentiment"),
        ("nan", "reviews", "sentiment"),
    ]


def test_a_whole_study_sounds_its_alerts(tmp_path: Path) -> None:
    from tuner.study.study import run_study

    space = {"rank": 8, "learning_rate": {"type": "choice", "values": [2.0, 3.0, 0.01]}, "epochs": 2}
    config = make_config(
        tmp_path, space=space, search__trials=12, search__asha=None, alerts={"free_mb": 0, "failed_share": 0.01}
    )
    stream = io.StringIO()
    console = Console(file=stream, width=500)
    with make_progress(console) as progress:
        observer = Observers(Alarms(tmp_path, progress.say), progress)
        record = run_study(config, in_process=True, engine=NULL_ENGINE, observer=observer)
    assert record.state == COMPLETE
    lines = [line.split(" ", 1)[1] for line in stream.getvalue().splitlines() if "Alert" in line]
    assert any(line.startswith("Alert (warning): ") and "not finite (NaN)" in line for line in lines)
    assert any("of those that ended; at most 1 % should" in line for line in lines)
    log = (tmp_path / "s" / "logs.txt").read_text(encoding="utf-8")
    assert "WARNING alert nan (warning): " in log
    assert "WARNING alert failed_trials (" in log


def test_where_an_alert_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    quiet, pipe, terminal = io.StringIO(), io.StringIO(), io.StringIO()
    make_progress(Console(file=quiet), quiet=True).say("Alert: [x]")
    line = make_progress(Console(file=pipe, width=40))
    assert isinstance(line, LineProgress)
    line.say("Alert: [x] " + "y" * 60)
    live = make_progress(Console(file=terminal, force_terminal=True, width=40, color_system="standard"))
    assert isinstance(live, LiveProgress)
    with live:
        live.say("Alert: [x]")
        live.say("z" * 60)
    assert quiet.getvalue() == ""
    assert pipe.getvalue().split(" ", 1)[1] == "Alert: [x] " + "y" * 60 + "\n"
    shown = terminal.getvalue()
    assert shown.count("\x1b[33m") == 3, "the three lines are yellow, and the display under them is not"
    assert shown.count("Alert: [x]") == 1
    assert max(len(run) for run in re.findall("z+", shown)) == 40, "folded, as a longer line would tear the display"
    assert shown.index("Alert: [x]") < shown.rindex("Starting the engines"), "the display moves down"


class Jealous(Console):
    """A console that prints only while another thread could draw the display, as a live display's own thread does."""

    progress: LiveProgress
    free: bool | None = None

    def print(self, *things: Any, **how: Any) -> None:
        def take() -> None:
            self.free = self.progress.lock.acquire(timeout=0.2)
            if self.free:
                self.progress.lock.release()

        thread = threading.Thread(target=take)
        thread.start()
        thread.join()


def test_nothing_is_printed_under_the_lock_that_drawing_needs() -> None:
    # rich draws under a lock of its own, which printing waits for: the other order would stop both for ever
    console = Jealous(file=io.StringIO(), force_terminal=True)
    console.progress = progress = LiveProgress(console)
    progress.on_start(replace(study(), data={"warnings": ["mind the gap"]}))
    assert console.free is True
    console.free = None
    progress.say("Alert")
    assert console.free is True
