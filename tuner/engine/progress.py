"""How far one trial is: its data order, its steps, its reports. Plain numbers that go into a checkpoint and come back.

The order of rows is a function of (seed, epoch): each epoch is one permutation of all training rows, cut into batches of the
trial's own size; the last one of an epoch may be smaller. Reports fall at fixed shares of an epoch, so that trials of
different batch sizes report at the same number of samples seen.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from tuner.engine.contract import TrialSpec
from tuner.lora.dropout import mix
from tuner.lora.optim import Schedule


@dataclass
class Progress:
    """The counters of one trial. `samples`, `steps`, `tokens` count from 0; `reports` is how many were given;
    `best_score` and `best_metrics` belong to the best of them."""

    samples: int = 0
    steps: int = 0
    tokens: int = 0
    reports: int = 0
    loss_sum: float = 0.0
    loss_rows: int = 0
    gradient_norm: float = 0.0
    seconds: float = 0.0
    best_score: float = -math.inf
    best_metrics: dict[str, float] = field(default_factory=dict)


class TrialPlan:
    """What a trial will do, from its hyperparameters and the number of training rows. Holds no tensors but the epoch's order."""

    def __init__(self, spec: TrialSpec, train_rows: int, reports_per_epoch: int) -> None:
        params = spec.params
        self.spec = spec
        self.rows = train_rows
        self.batch = min(int(params["batch_size"]), train_rows)
        self.epochs = int(params["epochs"])
        self.total_samples = self.epochs * train_rows
        self.reports_per_epoch = reports_per_epoch
        self.total_reports = self.epochs * reports_per_epoch
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

    def boundary(self, reports: int) -> int:
        """Samples seen at which report number `reports` (from 0) is due."""
        epoch, part = divmod(reports + 1, self.reports_per_epoch)
        return epoch * self.rows + math.ceil(part * self.rows / self.reports_per_epoch)

    def due(self, progress: Progress) -> bool:
        """Whether the next report is due."""
        return progress.samples >= self.boundary(progress.reports)

    def member_numbers(self) -> Mapping[str, Any]:
        """What a forward needs of the hyperparameters: scale alpha / rank and dropout."""
        params = self.spec.params
        return {"scale": float(params["alpha"]) / int(params["rank"]), "dropout": float(params["dropout"])}
