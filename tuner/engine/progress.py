"""How far one trial is: its data order, its steps, its reports. Plain numbers that go into a checkpoint and come back.

The order of rows is a function of (seed, epoch) and of what the rows cost: each epoch is one permutation of all
training rows, cut into batches of the trial's own size; the last one of an epoch may be smaller. Batches cost about the
same (`balanced_order`), so that members of a pack, whose stretches are padded to the longest, pad little. Reports are
due at fixed shares of an epoch, whatever the batch size; a batch that crosses several of them is followed by one
report.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from tuner.engine.contract import TrialSpec
from tuner.lora.dropout import mix
from tuner.lora.optim import Schedule


@dataclass
class Progress:
    """The counters of one trial. `samples`, `steps`, `tokens` count from 0; `reports` is how many were given, the
    last at `reported` samples with mean training loss `loss`; `best_score` and `best_metrics` belong to the best of
    them."""

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


class TrialPlan:
    """What a trial will do, from its hyperparameters and what each training row costs (tokens). Holds the order of
    the current epoch."""

    def __init__(self, spec: TrialSpec, costs: Sequence[int], reports_per_epoch: int) -> None:
        params = spec.params
        self.spec = spec
        self.costs = costs
        self.rows = len(costs)
        self.batch = min(int(params["batch_size"]), self.rows)
        self.epochs = int(params["epochs"])
        self.total_samples = self.epochs * self.rows
        self.reports_per_epoch = reports_per_epoch
        self.scale = float(params["alpha"]) / int(params["rank"])
        self.dropout = float(params["dropout"])
        self.decay = float(params["weight_decay"])
        total_steps = self.epochs * math.ceil(self.rows / self.batch)
        warmup = round(float(params["warmup_ratio"]) * total_steps)
        self.schedule = Schedule(float(params["learning_rate"]), total_steps, warmup, str(params["schedule"]))
        self._order: tuple[int, list[int]] = (-1, [])

    def next_rows(self, samples: int) -> list[int]:
        """The training rows of the micro-batch that comes after `samples` rows."""
        epoch, at = divmod(samples, self.rows)
        if self._order[0] != epoch:
            self._order = (epoch, balanced_order(self.costs, self.batch, mix(self.spec.seed, epoch, 1) & 0xFFFFFFFF))
        return self._order[1][at : at + self.batch]

    def boundary(self, samples: int) -> int:
        """The number of samples, above this one, at which the next report is due."""
        epoch, at = divmod(samples, self.rows)
        part = at * self.reports_per_epoch // self.rows + 1
        return epoch * self.rows + -(-part * self.rows // self.reports_per_epoch)

    def due(self, progress: Progress) -> bool:
        """Whether the next report is due."""
        return progress.samples >= self.boundary(progress.reported)

    def finished(self, progress: Progress) -> bool:
        """Whether all rows of all epochs were seen."""
        return progress.samples >= self.total_samples


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
