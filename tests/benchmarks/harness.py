"""What the benchmarks share: rows, jobs, one fresh process per measured run, interleaving, medians and the last line.

A *side* is one way to do a job: the module `stock`, `tuned_stock` or `ours`, each with a `run(job, note)`. Every
measured run is a process of its own, started as a user starts it, and its clock begins before that process does: the
driver's imports, `ray.init`, the actors and their imports count on all sides alike, since a user waits for all of them.
No side leaves anything warm for the next. Knows nothing of what is measured: makespan.py and time_to_score.py do.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "tuner" / "tasks" / "sentiment" / "data"
SIDES = ("stock", "tuned_stock", "ours")
TRAIN_ROWS, VALIDATION_ROWS, TEST_ROWS = 600, 300, 100
TIMEOUT_S = 1800.0


@dataclass(frozen=True)
class Event:
    """One report as the driver learns of it. `at` is in seconds: since 1970 in the child, from the start in a `Run`."""

    at: float
    trial: str
    samples: int
    accuracy: float


@dataclass(frozen=True)
class Notes:
    """Appends events to a file. Holds the path only, since Ray Tune pickles its callbacks."""

    path: Path

    def __call__(self, event: Event) -> None:
        """Write an event down."""
        with self.path.open("a", encoding="utf-8") as sink:
            sink.write(json.dumps(asdict(event)) + "\n")


@dataclass(frozen=True)
class Run:
    """What one process did: its reports, oldest first, and its whole life in seconds."""

    events: tuple[Event, ...]
    seconds: float

    def final_accuracies(self) -> list[float]:
        """Validation accuracy of each trial at its last report."""
        return list({event.trial: event.accuracy for event in self.events}.values())

    def last_report(self) -> float:
        """Seconds from the start until the last report was known: the makespan."""
        return self.events[-1].at


@dataclass(frozen=True)
class Rows:
    """The files that every side reads: JSON lines with `text` and `label`."""

    train: Path
    validation: Path
    test: Path


@dataclass(frozen=True)
class Space:
    """What is searched, both ends included: rank and learning rate on a log scale, epochs evenly."""

    rank: tuple[int, int] = (2, 32)
    learning_rate: tuple[float, float] = (1e-4, 5e-3)
    epochs: tuple[int, int] = (1, 4)


@dataclass(frozen=True)
class Job:
    """What every side is asked to do: train the `configs`, or, if there are none, search `space` with `trials` trials.
    Paths are absolute; `folder` takes what a side writes. `cpus` and `threads_per_trial` are for the stock sides."""

    folder: Path
    rows: Rows
    configs: tuple[dict[str, Any], ...] = ()
    space: Space = Space()
    trials: int = 16
    batch_size: int = 8
    reports_per_epoch: int = 1
    seed: int = 0
    cpus: int = os.cpu_count() or 1
    threads_per_trial: int = 1

    def to_json(self) -> str:
        """As text that `from_json` reads."""
        return json.dumps(asdict(self), default=str)

    @staticmethod
    def from_json(text: str) -> Job:
        """The job of `to_json`."""
        values = json.loads(text)
        values["folder"] = Path(values["folder"])
        values["rows"] = Rows(**{name: Path(path) for name, path in values["rows"].items()})
        values["configs"] = tuple(values["configs"])
        values["space"] = Space(**{name: tuple(ends) for name, ends in values["space"].items()})
        return Job(**values)


def _read(name: str) -> list[str]:
    lines = (DATA / name).read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line.strip()]


def write_rows(folder: Path, train: int = TRAIN_ROWS, validation: int = VALIDATION_ROWS) -> Rows:
    """Write the rows for every side, drawn from the project's own reviews by a fixed seed.

    The test rows serve only so that no side cuts a test split from its training rows.
    """
    pool = _read("train.jsonl")
    random.Random(0).shuffle(pool)
    held_out = _read("validation.jsonl") + _read("test.jsonl")
    random.Random(0).shuffle(held_out)
    rows = Rows(*(folder / f"{name}.jsonl" for name in ("train", "validation", "test")))
    for path, lines in (
        (rows.train, pool[:train]),
        (rows.validation, held_out[:validation]),
        (rows.test, held_out[validation : validation + TEST_ROWS]),
    ):
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return rows


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder that is gone afterwards, also when a side leaves files in it while it ends."""
    with tempfile.TemporaryDirectory(prefix="tuner-bench-", ignore_cleanup_errors=True) as name:
        yield Path(name)


def run_side(side: str, job: Job) -> Run:
    """Run a job on a side in a fresh process. Raises SystemExit with the process's own words if it fails."""
    job.folder.mkdir(parents=True, exist_ok=True)
    (job.folder / "job.json").write_text(job.to_json(), encoding="utf-8")
    log = job.folder / "log.txt"
    environment = {
        **os.environ,
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
    command = [sys.executable, "-m", "tests.benchmarks.harness", side, str(job.folder)]
    with log.open("w", encoding="utf-8") as sink:
        began = time.time()
        child = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=sink, stderr=subprocess.STDOUT)
        try:
            code = child.wait(TIMEOUT_S)
        except subprocess.TimeoutExpired:
            child.terminate()  # Ray takes its own processes down with it
            child.wait()
            raise SystemExit(f"The side {side!r} was not done after {TIMEOUT_S:.0f} s and was ended.") from None
        seconds = time.time() - began
    if code != 0:
        words = log.read_text(encoding="utf-8", errors="replace")[-4000:]
        raise SystemExit(f"The side {side!r} ended with exit code {code}. Its last words:\n{words}")
    notes = [json.loads(line) for line in (job.folder / "events.jsonl").read_text(encoding="utf-8").splitlines()]
    return Run(tuple(Event(**{**note, "at": note["at"] - began}) for note in notes), seconds)


def rounds(sides: Sequence[str], repeats: int) -> Iterator[tuple[int, str]]:
    """(repeat, side), interleaved; the order turns from round to round so that no side always runs first."""
    for repeat in range(repeats):
        turn = repeat % len(sides)
        for side in (*sides[turn:], *sides[:turn]):
            yield repeat, side


def spread(values: Sequence[float], digits: int = 1) -> str:
    """Median and range as text."""
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def machine() -> str:
    """The machine in one line."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        facts = (line.partition(":") for line in info.read_text(encoding="utf-8").splitlines())
        model = next((value.strip() for name, _, value in facts if name.strip() == "model name"), model)
    return f"{model}, {os.cpu_count()} cores, Python {platform.python_version()}"


def say(text: str) -> None:
    """Print a line at once: runs are minutes apart."""
    print(text, flush=True)


def finish(keys: Mapping[str, Any], targets: Mapping[str, float], quick: bool) -> None:
    """Say how each key stands against its target, a lower bound; then print the JSON object as the last line.

    A quick run is held against no target, and its JSON says that it was one.
    """
    for name, target in [] if quick else targets.items():
        say(f"{name}: {keys[name]:.2f}, target at least {target:g}: {'met' if keys[name] >= target else 'MISSED'}")
    rounded = {name: round(value, 4) if isinstance(value, float) else value for name, value in keys.items()}
    say(json.dumps({**rounded, **({"quick": True} if quick else {})}))


def parser(text: str | None, count: str, default: int) -> argparse.ArgumentParser:
    """The options that every benchmark has; `count` names the one that says how many rounds of all sides there are."""
    made = argparse.ArgumentParser(description=(text or "").partition("\n")[0])
    made.add_argument(f"--{count}", type=int, default=default, help=f"rounds of all sides (default {default})")
    made.add_argument("--quick", action="store_true", help="a small form that shows that all sides run; no result")
    return made


def main(arguments: Sequence[str]) -> None:
    """The child: run the job of a folder on a side, each report a line of events.jsonl."""
    side, folder = arguments[0], Path(arguments[1])
    job = Job.from_json((folder / "job.json").read_text(encoding="utf-8"))
    importlib.import_module(f"tests.benchmarks.{side}").run(job, Notes(folder / "events.jsonl"))


if __name__ == "__main__":
    main(sys.argv[1:])
