"""How far one trial is: its data order, its steps, its reports. Plain numbers that go into a checkpoint and come back.

The order of rows is a function of (seed, epoch): each epoch is one permutation of all training rows, cut into batches
of the trial's own size; the last one of an epoch may be smaller. Reports are due at fixed shares of an epoch,
whatever the batch size; a batch that crosses several of them is followed by one report.
"""

from __future__ import annotations

import math
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
    """What a trial will do, from its hyperparameters and the number of training rows. Holds no tensors but the
    epoch's order."""

    def __init__(self, spec: TrialSpec, train_rows: int, reports_per_epoch: int) -> None:
        params = spec.params
        self.spec = spec
        self.rows = train_rows
        self.batch = min(int(params["batch_size"]), train_rows)
        self.epochs = int(params["epochs"])
        self.total_samples = self.epochs * train_rows
        self.reports_per_epoch = reports_per_epoch
        self.scale = float(params["alpha"]) / int(params["rank"])
        self.dropout = float(params["dropout"])
        self.decay = float(params["weight_decay"])
        total_steps = self.epochs * math.ceil(train_rows / self.batch)
        warmup = round(float(params["warmup_ratio"]) * total_steps)
        self.schedule = Schedule(float(params["learning_rate"]), total_steps, warmup, str(params["schedule"]))
        self._order: tuple[int, list[int]] = (-1, [])

    def next_rows(self, samples: int) -> list[int]:
        """The training rows of the micro-batch that comes after `samples` rows."""
        epoch, at = divmod(samples, self.rows)
        if self._order[0] != epoch:
            generator = torch.Generator().manual_seed(mix(self.spec.seed, epoch, 1) & 0xFFFFFFFF)
            self._order = (epoch, torch.randperm(self.rows, generator=generator).tolist())
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
