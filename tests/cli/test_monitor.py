"""`tuner monitor`: rounds into a pipe, a screen on a terminal, and how it ends."""

from __future__ import annotations

import contextlib
import math
import os
import pty
import re
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.cli.samples import finished, record, save, trial
from tests.engine.null_engine import SLOW_ENGINE
from tests.report.pictures import pictures_outputs, pictures_study, with_pictures_task
from tests.study.conftest import task_nothing
from tests.study.factory import make_config
from tuner.cli.main import main
from tuner.cli.monitor import Items, item_line
from tuner.monitor.look import look
from tuner.store.files import write_study
from tuner.store.outputs import write_outputs
from tuner.store.records import COMPLETE, FAILED, INTERRUPTED, RUNNING

__all__ = ["task_nothing", "with_pictures_task"]  # fixtures
ROOT = Path(__file__).parents[2]


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A results folder with one running study."""
    monkeypatch.chdir(tmp_path)
    save(Path("results"), record("new", created=time.time()), adapter=False)
    return Path("results")


def between_rounds(monkeypatch: pytest.MonkeyPatch, *steps: Callable[[], object]) -> list[float]:
    """Instead of each pause the next of `steps` happens. The pauses that were asked for."""
    waited: list[float] = []
    left = list(steps)

    def pause(seconds: float) -> None:
        waited.append(seconds)
        left.pop(0)()

    monkeypatch.setattr(time, "sleep", pause)
    return waited


def now(state: str) -> None:
    """The study goes into a state."""
    write_study(Path("results/new"), replace(finished("new") if state == COMPLETE else record("new"), state=state))


def test_an_items_line() -> None:
    values = {"visual": 0.714, "fashion": 0.8166}
    line = item_line("image_1.jpg", "excellent", 0.3124, values)
    assert line.plain == "image_1.jpg: EXCELLENT  loss 0.312  visual 0.71  fashion 0.82"
    missing = item_line("trial 3", "unmeasured", None, {"visual": math.nan, "fashion": None}, 0.81234)
    assert missing.plain == "trial 3: UNMEASURED  loss n/a  visual n/a  fashion n/a  score 0.8123"


def test_once(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["monitor", "--once"]) == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert re.fullmatch(
        r"\d\d:\d\d:\d\d new is running: 4 of 8 trials done .*, 1 running, \d+ s since it began", lines[0]
    )
    assert lines[-1] == "  trial 4: UNMEASURED  loss n/a  certainty n/a  accuracy 0.71  preservation n/a  score 0.6600"
    assert (err, "\x1b" in out) == ("", False)


def test_it_follows_a_study_to_its_end_and_tells_what_is_new(
    results: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def more() -> None:
        made = record("new")
        write_study(results / "new", replace(made, trials=(*made.trials[:4], trial(4, RUNNING, [0.66, 0.7]))))

    waited = between_rounds(monkeypatch, lambda: None, more, lambda: now(COMPLETE))
    assert main(["monitor", "new", "--interval", "2"]) == 0
    out = capsys.readouterr().out
    assert waited == [2.0, 2.0, 2.0]
    rounds = re.split(r"(?m)^\d\d:\d\d:\d\d ", out)[1:]
    assert len(rounds) == 4
    assert re.findall(r"(?m)^  (trial \d+): ", rounds[0]) == ["trial 0", "trial 1", "trial 2", "trial 4"]
    assert rounds[1].endswith(" since it began; nothing new\n")
    assert re.findall(r"(?m)^  trial (\d+): UNMEASURED .* score (\S+)$", rounds[2]) == [("4", "0.7000")]
    assert rounds[3].startswith("new is complete: ")
    assert out.endswith("Study new has ended. All of it: tuner status new\n")


@pytest.mark.parametrize(("state", "code"), [(FAILED, 1), (INTERRUPTED, 0), (COMPLETE, 0)])
def test_the_exit_code(results: Path, state: str, code: int) -> None:
    now(state)
    assert main(["monitor"]) == code
    assert main(["monitor", "--once"]) == code


def test_outputs_are_shown_one_by_one(
    results: Path, capsys: pytest.CaptureFixture[str], with_pictures_task: None
) -> None:
    write_study(results / "pictures", pictures_study(created=time.time()))
    write_outputs(results / "pictures", pictures_outputs(50))
    assert main(["monitor", "pictures"]) == 0
    out = capsys.readouterr().out
    items = re.findall(r"(?m)^  (image_\d+\.jpg): ([A-Z]+)  loss \S+  visual \S+  fashion \S+  color \S+$", out)
    assert items[0] == ("image_1.jpg", "EXCELLENT")
    assert [name for name, _ in items] == [f"image_{n}.jpg" for n in range(1, 21)]
    assert "  and 30 more, which are all in: tuner report pictures\n" in out


def test_of_many_trials_the_newest_are_shown(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trials = tuple(trial(n, COMPLETE, [0.5]) for n in range(50))
    write_study(results / "new", replace(record("new"), trials=trials))
    assert main(["monitor", "--once"]) == 0
    out = capsys.readouterr().out
    assert re.findall(r"(?m)^  trial (\d+): ", out) == [str(n) for n in range(30, 50)]
    assert "  and 30 more, which are all in: tuner status new\n" in out


def test_items_that_did_not_change_are_not_new(results: Path) -> None:
    items, seen = Items(), look(results / "new")
    assert len(items.fresh(seen)) == 4
    assert items.fresh(seen) == []
    made = record("new")
    write_study(results / "new", replace(made, trials=(trial(0, COMPLETE, [0.9]), *made.trials[1:])))
    assert [line.plain.split(":")[0] for line in items.fresh(look(results / "new"))] == ["trial 0"]


def test_a_record_that_is_half_written_is_tried_again(
    results: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = (results / "new" / "study.json").read_text()
    (results / "new" / "study.json").write_text(whole[:200])
    between_rounds(monkeypatch, lambda: now(COMPLETE))
    assert main(["monitor", "new", "--interval", "60"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0].startswith("results/new/study.json cannot be read: ")
    assert out[0].endswith(" Trying again in 1 min.")
    assert "new is complete" in out[1]
    (results / "new" / "study.json").write_text("{")
    assert main(["monitor", "new", "--once"]) == 1
    assert "cannot be read" in capsys.readouterr().err


def test_a_study_that_is_deleted_meanwhile(
    results: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    between_rounds(monkeypatch, lambda: (results / "new" / "study.json").unlink())
    assert main(["monitor"]) == 1
    assert "study.json is missing" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["old", "../new", ""])
def test_no_such_study(results: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    assert main(["monitor", name]) == 1
    assert capsys.readouterr().err.startswith(f"tuner: study = {name!r}")


@pytest.mark.parametrize("interval", ["0.99", "0", "-1", "nan", "inf", "86401"])
def test_intervals_that_cannot_be(results: Path, capsys: pytest.CaptureFixture[str], interval: str) -> None:
    assert main(["monitor", "--interval", interval, "--dashboard"]) == 2
    err = capsys.readouterr().err
    assert f"--interval = {float(interval)}: must lie between 1 and 86,400 seconds" in err
    assert "--dashboard = True: needs a terminal" in err, "every mistake at once"


def test_ctrl_c(results: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    between_rounds(monkeypatch, lambda: signal.raise_signal(signal.SIGINT))
    assert main(["monitor"]) == 130
    assert capsys.readouterr().err == "Stopped.\n"


def test_it_starts_without_torch_and_ray(results: Path) -> None:
    code = (
        "import sys; from tuner.cli.main import main; main(['monitor', '--once']);"
        "heavy = {'torch', 'ray', 'transformers', 'optuna', 'matplotlib', 'numpy', 'plotly'} & set(sys.modules);"
        "sys.exit(f'imported: {heavy}' if heavy else 0)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@contextlib.contextmanager
def on_a_terminal(*arguments: str) -> Iterator[tuple[subprocess.Popen[bytes], Callable[[str], str]]]:
    """`tuner monitor` on a terminal of 120 x 40, and what waits for a text and gives all that was shown so far."""
    master, slave = pty.openpty()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm-256color", "COLUMNS": "120", "LINES": "40"}
    command = [sys.executable, "-m", "tuner", "monitor", *arguments]
    child = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, env=environment)
    os.close(slave)
    shown = b""

    def until(text: str) -> str:
        nonlocal shown
        while text.encode() not in shown:
            if not select.select([master], [], [], 60)[0]:
                raise AssertionError(f"{text!r} was not shown: {shown!r}")
            try:
                shown += os.read(master, 65536)
            except OSError as error:
                raise AssertionError(f"it ended before {text!r} was shown: {shown!r}") from error
        return shown.decode()

    try:
        yield child, until
    finally:
        if child.poll() is None:
            child.kill()
        child.wait()
        os.close(master)


def test_the_dashboard_fills_the_screen_and_gives_it_back(results: Path) -> None:
    with on_a_terminal("new", "--dashboard", "--interval", "1") as (child, until):
        until("\x1b[?1049h")
        screen = until("Newest")
        for part in ("is running: 4 of 8 trials done", "Running", "Best of those that ended", "▁", "rank 16"):
            assert part in screen
        (results / "new" / "study.json").write_text("{")
        until("cannot be read")
        now(COMPLETE)
        whole = until("has ended. All of it:")
        assert child.wait(60) == 0
    after = whole.rpartition("\x1b[?1049l")[2]
    assert "is complete: 4 of 8 trials done" in after, "what it showed last stays"


def test_ctrl_c_gives_the_screen_back(results: Path) -> None:
    with on_a_terminal("--dashboard") as (child, until):
        until("Newest")
        child.send_signal(signal.SIGINT)
        until("\x1b[?1049l")
        until("Stopped.")
        assert child.wait(60) == 130


def test_a_real_study_is_followed_while_it_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from tuner.study.study import run_study

    config = make_config(tmp_path, search__trials=6, search__asha=None)
    study = threading.Thread(target=lambda: run_study(config, in_process=True, engine=SLOW_ENGINE))
    study.start()
    while not (tmp_path / "s" / "study.json").exists():
        time.sleep(0.01)
    assert main(["monitor", "s", "--interval", "1", "--results", str(tmp_path)]) == 0
    study.join()
    out = capsys.readouterr().out
    assert " s is running: " in out
    assert " s is complete: 6 of 6 trials done" in out
