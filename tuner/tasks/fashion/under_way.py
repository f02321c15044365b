"""A picture while it is drawn for a request: what was ordered, its latent, and its own solver."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from tuner.lora.table import Resident
from tuner.tasks.served import Job


@dataclass(frozen=True)
class Order:
    """An ask with all that it leaves to the adapter. The UNet carries `member`, the base alone where the adapter leaves
    it as it is."""

    job: Job
    member: Resident
    side: int
    steps: int
    guidance: float
    seed: int
    prompt: str
    negative_prompt: str

    @property
    def texts(self) -> list[str]:
        """What the text encoder reads, the unguided text first where there is one."""
        return [self.negative_prompt, self.prompt] if self.guidance > 1 else [self.prompt]


@dataclass(eq=False)
class UnderWay:
    """A picture that is being drawn: its latent (1, C, h, w), its encoded texts (1 or 2, L, D), and the solver."""

    order: Order
    latent: torch.Tensor
    texts: torch.Tensor
    solver: Any
    at: int = 0

    @property
    def rows(self) -> int:
        """Of a forward."""
        return len(self.texts)

    @property
    def time(self) -> torch.Tensor:
        """Of the next step, ()."""
        found: torch.Tensor = self.solver.timesteps[self.at]
        return found

    def move(self, found: torch.Tensor) -> None:
        """Take the step to which the UNet's prediction (1 or 2, C, h, w) leads."""
        if self.rows == 2:
            found = found[:1] + self.order.guidance * (found[1:] - found[:1])
        self.latent = self.solver.step(found, self.time, self.latent, return_dict=False)[0]
        self.at += 1
        if self.order.job.piece is not None:
            self.order.job.piece((self.at, self.order.steps))

    @property
    def done(self) -> bool:
        """Whether all steps are taken."""
        return self.at == self.order.steps
