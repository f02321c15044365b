"""How far one trial is: its data order, its steps, its reports. Plain numbers that go into a checkpoint and come back.

The order of rows is a function of (seed, epoch) and of what the rows cost: each epoch is one permutation of all
training rows, cut into steps of `batch_size * accumulation` rows; the last one of an epoch may be smaller. Steps cost
about the same (`balanced_order`), and so do the micro-batches into which a step is dealt out, so that members of a
pack, whose stretches are padded to the longest, pad little. Reports are due at fixed shares of an epoch, whatever the
batch size; a step that crosses several of them is followed by one report.

A trial ends when it has seen all its rows, or when its quality has not improved for `patience` reports in a row.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from tuner.config_rules import COMMON_HYPERPARAMETERS
from tuner.engine.contract import TrialSpec
from tuner.lora.dropout import mix
from tuner.lora.optim import Schedule


@dataclass
class Progress:
    """The counters of one trial. `samples`, `steps`, `tokens` count from 0; `reports` is how many were given, the
    last at `reported` samples with mean training loss `loss`; `best_score` and `best_metrics` belong to the best of
    them; `best_quality` is the best value of the quality metric, signed so that more is better, and `stale` how many
    reports were given since."""

    samples: int = 0
    steps: int = 0
    tokens: int = 0
    reports: int = 0
    reported: int = 0
    loss: float = 0.0
    loss_sum: float = 0.0
    loss_rows: int = 0
    gradient_norm: float = 0.0
    seconds: float = 0.0
    best_score: float = -math.inf
    best_metrics: dict[str, float] = field(default_factory=dict)
    best_quality: float = -math.inf
    stale: int = 0

    def judged(self, quality: float) -> None:
        """Count a report of this quality, of which more is better."""
        self.stale = 0 if quality > self.best_quality else self.stale + 1
        self.best_quality = max(self.best_quality, quality)


class TrialPlan:
    """What a trial will do, from its hyperparameters and what each training row costs (tokens). A common hyperparameter
    that the spec does not name, as in a record made before there was one, has its default. Holds the order of the
    current epoch."""

    def __init__(
        self, spec: TrialSpec, costs: Sequence[int], reports_per_epoch: int, patience: int | None = None
    ) -> None:
        params = {**COMMON_HYPERPARAMETERS, **spec.params}
        self.spec = spec
        self.costs = costs
        self.rows = len(costs)
        self.batch = min(int(params["batch_size"]), self.rows)
        self.step_rows = min(self.batch * int(params["accumulation"]), self.rows)
        self.epochs = int(params["epochs"])
        self.total_samples = self.epochs * self.rows
        self.reports_per_epoch = reports_per_epoch
        self.patience = patience
        self.scale = float(params["alpha"]) / int(params["rank"])
        self.dropout = float(params["dropout"])
        self.decay = float(params["weight_decay"])
        self.ema = bool(params.get("ema", True))
        total_steps = self.epochs * math.ceil(self.rows / self.step_rows)
        warmup = int(params["warmup_steps"]) or round(float(params["warmup_ratio"]) * total_steps)
        peak, kind = float(params["learning_rate"]), str(params["schedule"])
        self.schedule = Schedule(peak, total_steps, warmup, kind, int(params["restarts"]))
        self._order: tuple[int, list[int]] = (-1, [])

    def next_rows(self, samples: int) -> list[int]:
        """The training rows of the step that comes after `samples` rows."""
        epoch, at = divmod(samples, self.rows)
        if self._order[0] != epoch:
            seed = mix(self.spec.seed, epoch, 1) & 0xFFFFFFFF
            self._order = (epoch, balanced_order(self.costs, self.step_rows, seed))
        return self._order[1][at : at + self.step_rows]

    def micro_batches(self, samples: int) -> list[list[int]]:
        """The same rows in as few micro-batches as hold them, the first as large as any. They are dealt out one by one,
        since within a step rows stand in order of cost."""
        rows = self.next_rows(samples)
        count = math.ceil(len(rows) / self.batch)
        return [rows[number::count] for number in range(count)]

    def dropout_seed(self, number: int) -> int:
        """The seed of the dropout of a step's micro-batch `number`, counted from 0; the first one's is the trial's."""
        return mix(self.spec.seed, number, 2) if number else self.spec.seed

    def boundary(self, samples: int) -> int:
        """The number of samples, above this one, at which the next report is due."""
        epoch, at = divmod(samples, self.rows)
        part = at * self.reports_per_epoch // self.rows + 1
        return epoch * self.rows + -(-part * self.rows // self.reports_per_epoch)

    def due(self, progress: Progress) -> bool:
        """Whether the next report is due."""
        return progress.samples >= self.boundary(progress.reported)

    def finished(self, progress: Progress) -> bool:
        """Whether the trial has come to its end: all rows of all epochs were seen, or it stopped early."""
        return progress.samples >= self.total_samples or self.stopped_early(progress)

    def stopped_early(self, progress: Progress) -> bool:
        """Whether patience ran out before the rows did."""
        return self.patience is not None and progress.stale >= self.patience and progress.samples < self.total_samples


def balanced_order(costs: Sequence[int], batch: int, seed: int) -> list[int]:
    """All rows once, so that consecutive batches of `batch` rows cost about the same; the last may be smaller.

    Rows in order of cost (those of equal cost in random order) are cut into as many strata as a batch has rows, and
    each batch takes one row, drawn at random, of every stratum. A function of its arguments alone.
    """
    generator = torch.Generator().manual_seed(seed)
    shuffled = torch.randperm(len(costs), generator=generator)
    by_cost = shuffled[torch.argsort(torch.tensor(costs)[shuffled], stable=True)]
    batches = -(-len(costs) // batch)
    last = len(costs) - (batches - 1) * batch  # rows of the last batch: so many strata, drawn at random, serve it too
    serving = set(torch.randperm(batch, generator=generator)[:last].tolist())
    sizes = [batches - 1 + (stratum in serving) for stratum in range(batch)]
    strata = [part[torch.randperm(len(part), generator=generator)].tolist() for part in by_cost.split(sizes)]
    return [stratum[number] for number in range(batches) for stratum in strata if number < len(stratum)]
