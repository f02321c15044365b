"""What reports and the live monitor cost: `python -m tests.benchmarks.reporting`.

- The report: a finished study of 200 trials is written to disk, then `tuner report` runs in a process of its own, as a
  user runs it; its wall time and its peak memory count from the start of that process.
- The monitor: a real study on the embedded base runs in process of its own, alone and with `tuner monitor` beside it at
  its default interval, in turns. `monitor_percent` is the CPU time of the monitor's process in percent of the CPU time
  of the study beside it. `slowdown_percent` compares the studies' own wall times, and is as noisy as the machine.

Keys of the last line: `report_seconds` (target <= 20), `report_mb` (peak resident memory; <= 1000), `html_mb`,
`monitor_percent` (< 1), `slowdown_percent`, `observer_ms` (what the alarms and the log of a running study take of its
thread for one report). Medians over the repeats.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tuner.store.files import write_study

ROOT = Path(__file__).resolve().parents[2]


def report(trials: int, folder: Path) -> dict[str, float]:
    """One report of a study of that many trials: seconds, peak MB (2^20 bytes), MB of the page."""
    from tests.store.factory import study

    record = study(trials=trials, name="large")
    write_study(folder / "large", record)
    command = [sys.executable, "-m", "tuner", "report", "large", "--results", str(folder), "--json"]
    began = time.perf_counter()
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        places = json.loads(child.stdout.read())
        _, status, usage = os.wait4(child.pid, 0)
        seconds = time.perf_counter() - began
        child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise RuntimeError("the report failed")
    return {
        "report_seconds": seconds,
        "report_mb": usage.ru_maxrss / 1024,
        "html_mb": Path(places["page"]).stat().st_size / 2**20,
    }


def monitored(folder: Path, monitor: bool, trials: int) -> dict[str, float]:
    """One study, with or without a monitor beside it: its wall seconds, its CPU seconds and the monitor's."""
    name = "with" if monitor else "without"
    command = [sys.executable, "-m", "tuner", "tune", "sentiment", "--in-process", "--quiet", "--name", name]
    command += ["--results", str(folder), "--trials", str(trials), "--epochs", "1..2", "--top-k", "1"]
    command += ["--train-samples", "600"]
    began = time.perf_counter()
    child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    watcher = None
    if monitor:
        while not (folder / name / "study.json").exists() and child.poll() is None:
            time.sleep(0.2)
        watch = [sys.executable, "-m", "tuner", "monitor", name, "--results", str(folder)]
        watcher = subprocess.Popen(watch, cwd=ROOT, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - began
    found = {"seconds": seconds, "cpu": usage.ru_utime + usage.ru_stime, "monitor_cpu": 0.0}
    if watcher is not None:
        _, status, usage = os.wait4(watcher.pid, 0)  # it ends by itself when the study has ended
        watcher.returncode = os.waitstatus_to_exitcode(status)
        found["monitor_cpu"] = usage.ru_utime + usage.ru_stime
    if child.returncode or (watcher is not None and watcher.returncode):
        raise RuntimeError("the study or its monitor failed")
    return found


def observer_ms(trials: int, folder: Path) -> float:
    """Milliseconds that the observers of a study of that many trials take for one report."""
    from dataclasses import replace

    from tests.store.factory import study
    from tuner.cli.observers import Written
    from tuner.engine.contract import Report
    from tuner.monitor.watch import Alarms
    from tuner.store.records import RUNNING

    record = study(trials=trials, name="watched", state=RUNNING, winner=None, reruns=())
    logging.getLogger("tuner").setLevel(logging.ERROR)  # the alerts of a study that is none
    observers: list[Any] = [Written(folder), Alarms(folder, lambda line: None)]
    for each in observers:
        each.on_start(replace(record, trials=()))
    seconds, reports = 0.0, 0
    for trial in record.trials:
        for index, metrics in enumerate(trial.reports):
            said = Report(trial.trial_id, index, int(metrics["samples"]), False, metrics)
            so_far = replace(trial, reports=trial.reports[: index + 1], best=index, state=RUNNING)
            began = time.perf_counter()
            for each in observers:
                each.on_report(so_far, said)
            seconds += time.perf_counter() - began
            reports += 1
        began = time.perf_counter()
        for each in observers:
            each.on_trial_end(trial)
        seconds += time.perf_counter() - began
    for each in observers:
        each.on_end(record)
    return 1000 * seconds / reports


def main() -> None:
    """Run all, print medians and ranges, and the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    found: dict[str, list[float]] = {}
    for repeat in range(options.repeats):
        with tempfile.TemporaryDirectory(prefix="reporting-") as name:
            folder = Path(name)
            for key, value in report(options.trials, folder).items():
                found.setdefault(key, []).append(value)
            found.setdefault("observer_ms", []).append(observer_ms(options.trials, folder))
            runs = {with_monitor: monitored(folder, with_monitor, 8) for with_monitor in (False, True)}
        share = 100 * runs[True]["monitor_cpu"] / runs[True]["cpu"]
        found.setdefault("monitor_percent", []).append(share)
        slowdown = 100 * (runs[True]["seconds"] / runs[False]["seconds"] - 1)
        found.setdefault("slowdown_percent", []).append(slowdown)
        print(f"repeat {repeat + 1}: " + ", ".join(f"{key} {values[-1]:.2f}" for key, values in found.items()))
        studies = f"studies of {runs[False]['seconds']:.0f} s alone and {runs[True]['seconds']:.0f} s with a monitor"
        print(f"  {studies}, whose process took {runs[True]['monitor_cpu']:.2f} s of CPU", flush=True)
    print(f"\n{options.trials} trials, {os.cpu_count()} cores; median [range] of {options.repeats}")
    for key, values in found.items():
        print(f"  {key:18} {statistics.median(values):8.2f} [{min(values):.2f}-{max(values):.2f}]")
    print(json.dumps({key: round(statistics.median(values), 3) for key, values in found.items()}))


if __name__ == "__main__":
    main()
