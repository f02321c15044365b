"""What serving many adapters costs: `python -m tests.benchmarks.serve`.

16 clients in a closed loop ask one text a request, adapters drawn evenly. The sides, each a process of its own, one at
a time, in turning order:

- fastapi: FastAPI and PEFT's `set_adapter` under a lock, one process (`serve_stock_fastapi.py`);
- serve_batch: Ray Serve with `@serve.batch` and PEFT's mixed batches (`serve_stock_ray.py`);
- serve_batch_fast_proxy: the same on HAProxy with Ray's settings for throughput, to show what is the proxy's part;
- ours: `tuner serve`, as a user starts it; ours_wide: with two adapters of rank 16 on all of attention beside the 8.

Keys of the last line, medians over the rounds: `vs_serve_batch` (requests a second, ours / serve_batch; target >= 3),
`p99_ratio` (ours / serve_batch; <= 1), `adapters_500_loss` (1 - requests a second of 500 registered adapters, all
asked, over those of one; <= 0.10), `alias_ms` (from the return of a change of an alias to the first answer of the new
version, the worst of 20; <= 250), `swap_errors` (answers other than 2xx while aliases change 100 times, 30 of them to
damaged versions; 0) and `wrong_answers` (of all that ours gave in the run, see `serve_check.py`; 0). With `--long`
there are 100,000 answers while aliases change.
"""

from __future__ import annotations

import gc
import signal
import statistics
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from tests.benchmarks import harness
from tests.benchmarks.harness import say, spread
from tests.benchmarks.serve_bench import OURS_WIDE, Bench, Figures
from tests.benchmarks.serve_sides import BATCH, FAST, FASTAPI, OURS

MANY = 500
CHANGES, SWAPS, CORRUPT, LONG = 20, 100, 30, 100_000
AT_LEAST = {"vs_serve_batch": 3.0}
AT_MOST = {"p99_ratio": 1.0, "adapters_500_loss": 0.10, "alias_ms": 250.0, "swap_errors": 0, "wrong_answers": 0}


def ratios(ours: Sequence[Figures], theirs: Sequence[Figures], name: str = "rate") -> list[float]:
    """Ours / theirs, round by round."""
    return [getattr(mine, name) / getattr(other, name) for mine, other in zip(ours, theirs, strict=True)]


def _rate(figures: Figures) -> float:
    return figures.rate


def verdicts(keys: Mapping[str, float]) -> list[str]:
    """How each key stands against its target."""
    words = []
    for name, bound in (AT_LEAST | AT_MOST).items():
        met = keys[name] >= bound if name in AT_LEAST else keys[name] <= bound
        side = "at least" if name in AT_LEAST else "at most"
        words.append(f"{name}: {keys[name]:.4g}, target {side} {bound:g}: {'met' if met else 'MISSED'}")
    return words


def main() -> None:
    """Run all, print medians and ranges, and the JSON line."""
    parser = harness.parser(__doc__, "rounds", 3)
    parser.add_argument("--seconds", type=float, default=10.0, help="of load on a side in a round (default 10)")
    parser.add_argument("--long", action="store_true", help=f"ask {LONG:,} times while aliases change")
    options = parser.parse_args()
    quick = options.quick
    if quick:
        options.rounds, options.seconds = 1, 2.0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that no server outlives it
    say(harness.machine())
    with harness.scratch() as folder:
        bench = Bench(folder, options.rounds, options.seconds)
        gc.freeze()  # else every collection walks through torch, in the middle of a load
        top = bench.ceiling()
        say(f"the load generator against a server that computes nothing: {top}")
        sides = bench.throughput()
        capacity = bench.capacity(20 if quick else MANY)
        counts = (3, 12, 6, 0) if quick else (CHANGES, SWAPS, CORRUPT, LONG if options.long else 0)
        alias, swapped = bench.changing(*counts)
    for side, figures in (sides | capacity).items():
        parts = (f"{name} {spread([getattr(each, name) for each in figures])}" for name in ("rate", "p50", "p99"))
        say(f"{side}: {', '.join(parts)}")
    ours = sides[OURS]
    loss = [1 - ratio for ratio in ratios(capacity["many"], capacity["one"])]
    say(f"ours / {BATCH}: {spread(ratios(ours, sides[BATCH]), 2)}, p99 {spread(ratios(ours, sides[BATCH], 'p99'), 2)}")
    say(f"loss with many adapters: {spread(loss, 3)}")
    say(f"an alias's change is seen after {spread(alias, 0)} ms under light load")
    verdict = bench.verdict
    say(f"{counts[1]} swaps under load, {counts[2]} of them to damaged versions")
    say(f"  {len(swapped.answers)} answers, {swapped.errors} errors")
    say(f"  the others were seen after {spread(swapped.seen_ms, 0)} ms, {swapped.never_seen} of them never")
    say(f"{verdict.compared} answers compared, {verdict.wrong} wrong; largest difference {verdict.largest:.2g}")
    for line in verdict.words:
        say(f"  {line}")
    keys: dict[str, Any] = {
        "vs_serve_batch": statistics.median(ratios(ours, sides[BATCH])),
        "p99_ratio": statistics.median(ratios(ours, sides[BATCH], "p99")),
        "adapters_500_loss": statistics.median(loss),
        "alias_ms": max(alias),
        "swap_errors": swapped.errors,
        "wrong_answers": verdict.wrong,
        "vs_fastapi": statistics.median(ratios(ours, sides[FASTAPI])),
        "vs_serve_batch_fast_proxy": statistics.median(ratios(ours, sides[FAST])),
        "wide_loss": 1 - statistics.median(ratios(sides[OURS_WIDE], ours)),
        "alias_ms_median": statistics.median(alias),
        "swaps_never_seen": swapped.never_seen,
        "largest_difference_millionths": 1e6 * verdict.largest,
        "answers_compared": verdict.compared,
        "ceiling_requests_per_second": top.rate,
        **{f"{side}_requests_per_second": statistics.median(map(_rate, figures)) for side, figures in sides.items()},
    }  # fmt: skip
    for line in [] if quick else verdicts(keys):
        say(line)
    harness.finish(keys, {}, quick)


if __name__ == "__main__":
    main()
