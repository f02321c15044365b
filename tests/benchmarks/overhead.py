"""What a study costs beside training: `python -m tests.benchmarks.overhead`.

Two sides run 200 trials that train nothing, each in a process of its own, interleaved, at the same concurrency:

- stock: Ray Tune alone, a class trainable whose step returns a number, BasicVariant, FIFO, reused actors, no
  checkpoints;
- ours: `run_study` on the null engine: TPE, engine actors, a checkpoint on disk for every report, study.db, study.json.

A trial's cost is taken between the end of the first trials (as many as run at once) and the end of the last, so the
start of Ray and of the stock side's actors (a process for each trial that runs at once) counts for neither; it is
printed beside. A report's cost is the difference between trials of 10 and of 2 reports, by 8. Keys of the last line:
`ms_per_trial` (ours less stock, at 2 reports; target <= 50), `ms_per_report` (ours less stock; <= 2),
`rss_kb_per_trial` (growth of our driver from its 50th trial to its last, after a collection; <= 20). Medians over the
repeats.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
CONCURRENT = 8
FEW, MANY = 2, 10


class Clock:
    """Notes when trials end, and the driver's memory after the 50th and the last. An observer of our studies."""

    def __init__(self, trials: int) -> None:
        self.trials = trials
        self.began = time.perf_counter()
        self.ends: list[float] = []
        self.memory: dict[int, float] = {}

    def trial_ended(self) -> None:
        if len(self.ends) == self.trials:
            return  # the re-runs
        self.ends.append(time.perf_counter() - self.began)
        if len(self.ends) in (min(50, self.trials // 2), self.trials):
            gc.collect()
            statm = Path("/proc/self/statm")
            kb = int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1024 if statm.exists() else 0.0
            self.memory[len(self.ends)] = kb

    def on_start(self, record: Any) -> None:
        self.began = time.perf_counter()

    def on_phase(self, phase: str) -> None: ...

    def on_report(self, trial: Any, report: Any) -> None: ...

    def on_trial_end(self, trial: Any) -> None:
        self.trial_ended()

    def on_end(self, record: Any) -> None: ...

    def result(self) -> dict[str, float]:
        """Milliseconds a trial, seconds until the first ended, kB a trial."""
        (first, before), (last, after) = sorted(self.memory.items())
        steady = (self.ends[-1] - self.ends[CONCURRENT - 1]) / (len(self.ends) - CONCURRENT)
        return {"ms": 1000 * steady, "first_s": self.ends[0], "kb": (after - before) / (last - first)}


def run_ours(trials: int, reports: int, folder: Path) -> dict[str, float]:
    """A whole study; only its search is timed."""
    from tests.engine.null_engine import NULL_ENGINE
    from tests.study.factory import SPACE, make_config
    from tuner import tasks
    from tuner.study.study import run_study

    tasks.__path__.append(str(ROOT / "tests" / "study" / "tasks"))
    clock = Clock(trials)
    config = make_config(
        folder,
        space={**SPACE, "epochs": 1},
        search__trials=trials,
        search__asha=None,
        search__concurrent=CONCURRENT,
        search__reports_per_epoch=reports,
        search__top_k=1,
        search__top_k_seeds=1,
    )
    run_study(config, engine=NULL_ENGINE, observer=clock)
    return clock.result()


def run_stock(trials: int, reports: int, folder: Path) -> dict[str, float]:
    """The same number of steps under Ray Tune alone."""
    from ray import tune

    from cluster.connect import connected

    class Step(tune.Trainable):
        def setup(self, config: dict[str, Any]) -> None:
            self.done = 0

        def step(self) -> dict[str, Any]:
            self.done += 1
            return {"score": float(self.done), "done": self.done == reports}

        def reset_config(self, new_config: dict[str, Any]) -> bool:
            self.done = 0
            return True

    clock = Clock(trials)

    class Ended(tune.Callback):
        def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
            clock.trial_ended()

        def __getstate__(self) -> dict[str, Any]:
            return {}

    os.environ.update({"TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1", "RAY_AIR_NEW_OUTPUT": "0"})
    with connected():
        clock.began = time.perf_counter()
        tune.Tuner(
            tune.with_resources(Step, {"cpu": 0.01}),
            param_space={"learning_rate": tune.loguniform(1e-4, 1e-1), "rank": tune.choice([2, 4, 8, 16])},
            tune_config=tune.TuneConfig(num_samples=trials, max_concurrent_trials=CONCURRENT, reuse_actors=True),
            run_config=tune.RunConfig(
                storage_path=str(folder),
                name="stock",
                verbose=0,
                callbacks=[Ended()],
                checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=0, checkpoint_at_end=False),
            ),
        ).fit()
    return clock.result()


def measured(side: str, trials: int, reports: int) -> dict[str, float]:
    """One run in a process of its own."""
    with tempfile.TemporaryDirectory(prefix="overhead-") as folder:
        command = [sys.executable, "-m", "tests.benchmarks.overhead", "--side", side, "--folder", folder]
        done = subprocess.run(
            [*command, "--trials", str(trials), "--reports", str(reports)], capture_output=True, text=True, cwd=ROOT
        )
    if done.returncode:
        raise RuntimeError(f"{side} failed:\n{done.stderr[-3000:]}")
    result: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return result


def main() -> None:
    """Run all, print medians and ranges, and the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--side", choices=["ours", "stock"])
    parser.add_argument("--reports", type=int, default=FEW)
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    if options.side:
        run = run_ours if options.side == "ours" else run_stock
        print(json.dumps(run(options.trials, options.reports, options.folder)))
        return
    runs: dict[tuple[str, int], list[dict[str, float]]] = {}
    for repeat in range(options.repeats):
        for reports in (FEW, MANY):
            for side in ("stock", "ours"):
                result = measured(side, options.trials, reports)
                runs.setdefault((side, reports), []).append(result)
                print(f"repeat {repeat + 1}, {side}, {reports} reports: {_shown(result)}", flush=True)
    print(
        f"\n{options.trials} trials, {CONCURRENT} at once, {os.cpu_count()} cores; median [range] of {options.repeats}"
    )
    for (side, reports), results in runs.items():
        for key, unit in (("ms", "ms a trial"), ("first_s", "s to the first trial's end"), ("kb", "kB a trial")):
            values = [result[key] for result in results]
            low, high = min(values), max(values)
            print(f"  {side:5} {reports:2} reports: {statistics.median(values):8.2f} [{low:.2f}-{high:.2f}] {unit}")
    per_trial = {key: statistics.median(result["ms"] for result in results) for key, results in runs.items()}
    per_report = {side: (per_trial[side, MANY] - per_trial[side, FEW]) / (MANY - FEW) for side in ("stock", "ours")}
    print(f"  a report: stock {per_report['stock']:.2f} ms, ours {per_report['ours']:.2f} ms")
    keys = {
        "ms_per_trial": per_trial["ours", FEW] - per_trial["stock", FEW],
        "ms_per_report": per_report["ours"] - per_report["stock"],
        "rss_kb_per_trial": statistics.median(result["kb"] for result in runs["ours", FEW]),
    }
    print(json.dumps({name: round(value, 2) for name, value in keys.items()}))


def _shown(result: dict[str, float]) -> str:
    return f"{result['ms']:.1f} ms a trial, {result['first_s']:.1f} s to the first, {result['kb']:.1f} kB a trial"


if __name__ == "__main__":
    main()
