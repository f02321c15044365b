"""makespan: seconds until 16 given configurations are trained and judged by stock Ray Tune, tuned stock and ours.

No search and no early stopping: ranks 2 to 32, learning rates 1e-4 to 5e-3, 2 epochs, batch 8, 600 rows, and
validation on the same 300 rows after each epoch on every side. The clock runs from the start of a fresh process to the
last trial's last report.

    vs_stock, vs_tuned_stock   their seconds / ours, the median over the rounds
    accuracy_gap               mean validation accuracy at the last report, ours minus stock, in points
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.benchmarks.harness import (
    SIDES,
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

RANKS = (2, 8, 32, 4, 16)
LOWEST_RATE, HIGHEST_RATE = 1e-4, 5e-3
TARGETS = {"vs_stock": 5.0, "vs_tuned_stock": 1.8, "accuracy_gap": -1.0}


def configurations(count: int, epochs: int) -> tuple[dict[str, Any], ...]:
    """The fixed list: learning rates evenly spaced on a log scale, ranks in turn."""
    ratio = HIGHEST_RATE / LOWEST_RATE
    return tuple(
        {
            "rank": RANKS[index % len(RANKS)],
            "learning_rate": float(f"{LOWEST_RATE * ratio ** (index / (count - 1)):.3g}"),
            "epochs": epochs,
            "batch_size": 8,
        }
        for index in range(count)
    )


def check(side: str, run: Run, count: int) -> None:
    """A makespan counts only if every configuration was trained. Raises SystemExit otherwise."""
    trained = len(run.final_accuracies())
    if trained != count:
        raise SystemExit(f"{side} judged {trained} of {count} configurations: there is no makespan to compare.")


def measure(folder: Path, repeats: int, quick: bool) -> dict[str, list[Run]]:
    """All rounds of all sides, one line printed for each run."""
    count, epochs = (4, 1) if quick else (16, 2)
    rows = write_rows(folder, *((80, 40) if quick else ()))
    runs: dict[str, list[Run]] = {side: [] for side in SIDES}
    for repeat, side in rounds(SIDES, repeats):
        configs = configurations(count, epochs)
        job = Job(folder / f"{side}-{repeat}", rows, configs, seed=repeat)
        run = run_side(side, job)
        check(side, run, count)
        accuracy = 100 * statistics.mean(run.final_accuracies())
        say(
            f"round {repeat} {side:12} {run.last_report():7.1f} s to the last report, "
            f"first report after {run.events[0].at:.1f} s, process {run.seconds:.1f} s, mean accuracy {accuracy:.1f} %"
        )
        runs[side].append(run)
    return runs


def summarise(runs: dict[str, list[Run]]) -> dict[str, float]:
    """Print medians with ranges; return the keys."""
    seconds = {side: [run.last_report() for run in found] for side, found in runs.items()}
    accuracies = {
        side: [100 * statistics.mean(run.final_accuracies()) for run in found] for side, found in runs.items()
    }
    say("\nmedian (range) over the rounds")
    for side in runs:
        say(f"  {side:12} {spread(seconds[side]):>28} s   mean accuracy {spread(accuracies[side])} %")
    keys: dict[str, float] = {}
    for side in ("stock", "tuned_stock"):
        ratios = [theirs / ours for theirs, ours in zip(seconds[side], seconds["ours"], strict=True)]
        say(f"  {side} / ours: {spread(ratios, 2)}")
        keys[f"vs_{side}"] = statistics.median(ratios)
    keys["accuracy_gap"] = statistics.mean(accuracies["ours"]) - statistics.mean(accuracies["stock"])
    return keys


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    options = parser(__doc__, "repeats", 3).parse_args(arguments)
    say(f"makespan on {machine()}{' (quick: no result)' if options.quick else ''}")
    with scratch() as folder:
        runs = measure(folder, 1 if options.quick else options.repeats, options.quick)
    finish(summarise(runs), TARGETS, options.quick)


if __name__ == "__main__":
    main()
