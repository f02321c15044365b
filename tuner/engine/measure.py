"""A few measured steps on an engine at rest: how fast it trains, how much memory a member takes. For `tuner plan`."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from tuner.device import memory_used_mb, synchronize
from tuner.engine.contract import TrialSpec
from tuner.engine.packing import Packing

STEPS = 4
PASS = 2  # steps before the clock starts: the first ones allocate


@dataclass(frozen=True)
class Measured:
    """Rows a second alone and with all members, MB (2^20 bytes) of the base and of each more member (None where it
    drowns in the noise of the process), how many members fitted into one step, and seconds of one evaluation of them
    all."""

    alone_rows_per_second: float
    packed_rows_per_second: float
    base_mb: float
    adapter_mb: float | None
    fitting: int
    evaluation_seconds: float


def measure(packing: Packing, specs: Sequence[TrialSpec], base_mb: float) -> Measured:
    """Train `specs` for a few steps of one micro-batch and forget them: a row costs the same however many micro-batches
    a step has. One thread only, on a packing that holds no trial."""
    specs = [replace(spec, params={**spec.params, "accumulation": 1}) for spec in specs]
    ids = [spec.trial_id for spec in specs]
    try:
        for spec in specs:
            packing.start(spec)
        alone = _rate(packing, ids[:1])
        before = memory_used_mb(packing.device)
        packed = _rate(packing, ids)
        more = memory_used_mb(packing.device) - before
        synchronize(packing.device)
        started = time.perf_counter()
        packing.report(ids)
        seconds = time.perf_counter() - started
    finally:
        for trial_id in ids:
            packing.stop(trial_id)
        packing.rows_per_second = 0.0
    each = more / (len(ids) - 1) if len(ids) > 1 and more > 0 else None
    return Measured(alone, packed, base_mb, each, min(packing.limit, len(ids)), seconds)


def _rate(packing: Packing, ids: Sequence[str]) -> float:
    """Median rows a second over a few steps."""
    rates = []
    for step in range(PASS + STEPS):
        rows = -sum(packing.trials[trial_id].progress.samples for trial_id in ids)
        started = time.perf_counter()
        packing.step(ids)
        synchronize(packing.device)
        seconds = time.perf_counter() - started
        rows += sum(packing.trials[trial_id].progress.samples for trial_id in ids)
        if step >= PASS:
            rates.append(rows / seconds)
    return statistics.median(rates)
