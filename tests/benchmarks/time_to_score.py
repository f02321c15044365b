"""time_to_score: seconds until each side's search reaches the validation accuracy that stock Ray Tune ends with.

The same space (rank 2 to 32 and learning rate 1e-4 to 5e-3 on a log scale, 1 to 4 epochs), 16 trials, 600 rows,
validation on the same 300 rows after each half epoch, ASHA with its rungs at the same samples on every side; stock and
tuned stock draw with OptunaSearch. No side is told a good starting point. For each seed the stock search sets the mark:
its best accuracy, less one standard error of it on 300 rows. Every side, stock too, is timed from the start of a fresh
process to its first report at or above the mark. A search that never gets there counts until its last report and is
flagged.

    vs_stock, vs_tuned_stock               their seconds / ours, the median over the seeds
    vs_stock_exact, vs_tuned_stock_exact   the same with the mark at the best accuracy itself
    missed, missed_exact                   how many of our searches never reached the mark
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from pathlib import Path

from tests.benchmarks.harness import (
    SIDES,
    VALIDATION_ROWS,
    Job,
    Run,
    finish,
    machine,
    parser,
    rounds,
    run_side,
    say,
    scratch,
    spread,
    write_rows,
)

QUICK_ROWS = (80, 40)
TARGETS = {"vs_stock": 10.0, "vs_tuned_stock": 3.0}


def best(run: Run) -> float:
    """The best accuracy of any report."""
    return max(event.accuracy for event in run.events)


def standard_error(accuracy: float, rows: int) -> float:
    """Of a share measured on `rows` rows."""
    return math.sqrt(accuracy * (1 - accuracy) / rows)


def reached(run: Run, mark: float) -> tuple[float, bool]:
    """Seconds until the first report at or above the mark, and whether there was one; else until the last report."""
    for event in run.events:
        if event.accuracy >= mark - 1e-6:  # sides hold accuracies as float32 or float64
            return event.at, True
    return run.last_report(), False


def measure(folder: Path, seeds: int, quick: bool) -> list[dict[str, Run]]:
    """One search of each side for each seed; the side that runs first changes from seed to seed."""
    rows = write_rows(folder, *(QUICK_ROWS if quick else ()))
    found: list[dict[str, Run]] = [{} for _ in range(seeds)]
    for seed, side in rounds(SIDES, seeds):
        job = Job(folder / f"{side}-{seed}", rows, trials=4 if quick else 16, reports_per_epoch=2, seed=seed)
        found[seed][side] = run_side(side, job)
        if len(found[seed]) == len(SIDES):
            report_seed(seed, found[seed], QUICK_ROWS[1] if quick else VALIDATION_ROWS)
    return found


def report_seed(seed: int, runs: dict[str, Run], rows: int) -> None:
    """One line a side: what it found, and when it stood at the mark."""
    top = best(runs["stock"])
    mark = top - standard_error(top, rows)
    say(f"seed {seed}: stock ends with {100 * top:.1f} %, the mark is {100 * mark:.1f} %")
    for side in SIDES:
        seconds, there = reached(runs[side], mark)
        exact, there_too = reached(runs[side], top)
        say(
            f"  {side:12} {seconds:7.1f} s to the mark{'' if there else ' (NEVER)'}, "
            f"{exact:7.1f} s to {100 * top:.1f} %{'' if there_too else ' (NEVER)'}, "
            f"best {100 * best(runs[side]):.1f} %, first report {runs[side].events[0].at:.1f} s, "
            f"search {runs[side].last_report():.1f} s"
        )


def summarise(found: Sequence[dict[str, Run]], rows: int) -> dict[str, float]:
    """Print medians with ranges; return the keys."""
    keys: dict[str, float] = {}
    say("\nmedian (range) over the seeds")
    for suffix, errors in (("", 1.0), ("_exact", 0.0)):
        seconds: dict[str, list[float]] = {side: [] for side in SIDES}
        missed = 0
        for runs in found:
            top = best(runs["stock"])
            mark = top - errors * standard_error(top, rows)
            for side in SIDES:
                time_to, there = reached(runs[side], mark)
                seconds[side].append(time_to)
                missed += side == "ours" and not there
        name = "within one standard error" if errors else "the best accuracy itself"
        for side in SIDES:
            say(f"  {name:26} {side:12} {spread(seconds[side]):>28} s")
        for side in ("stock", "tuned_stock"):
            ratios = [theirs / ours for theirs, ours in zip(seconds[side], seconds["ours"], strict=True)]
            say(f"  {name:26} {side} / ours: {spread(ratios, 2)}")
            keys[f"vs_{side}{suffix}"] = statistics.median(ratios)
        keys[f"missed{suffix}"] = missed
    return keys


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    options = parser(__doc__, "seeds", 5).parse_args(arguments)
    say(f"time_to_score on {machine()}{' (quick: no result)' if options.quick else ''}")
    with scratch() as folder:
        found = measure(folder, 1 if options.quick else options.seeds, options.quick)
    finish(summarise(found, QUICK_ROWS[1] if options.quick else VALIDATION_ROWS), TARGETS, options.quick)


if __name__ == "__main__":
    main()
