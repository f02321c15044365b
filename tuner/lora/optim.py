"""AdamW for one adapter of a pack, on its row of the parameter store, with its own rate, schedule and clipping; and
the running average of its weights.

PyTorch's own fused AdamW does the step (Loshchilov and Hutter 2019, arXiv:1711.05101); decoupled decay is applied
before it, to weights and not to biases, as Hugging Face's Trainer does.

At a constant learning rate weights jitter around where they are going, and an adapter caught at a report is a matter of
luck. Their polynomial-decay average (Shamir and Zhang 2013, arXiv:1212.1824, with eta = AVERAGING) takes the jitter
out as a falling rate would, but needs no end that is known beforehand, so that trials of different lengths compare at
every rung: after step t, average += (eta + 1) / (t + eta) * (weights - average), in effect the last tenth of the steps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch.optim.adamw import adamw

from tuner.lora.parameters import ParameterStore

BETAS, EPSILON = (0.9, 0.999), 1e-8
AVERAGING = 8


@dataclass(frozen=True)
class Schedule:
    """Learning rate over steps: linear warm-up, then constant, linear to zero, cosine to zero, or
    cosine_with_restarts: `restarts` times from the peak along a cosine to zero."""

    peak: float
    total_steps: int
    warmup_steps: int = 0
    kind: str = "constant"
    restarts: int = 1

    def rate(self, step: int) -> float:
        """The rate of step `step`, counted from 0."""
        if step < self.warmup_steps:
            return self.peak * (step + 1) / (self.warmup_steps + 1)
        if self.kind == "constant":
            return self.peak
        left = max(self.total_steps - self.warmup_steps, 1)
        done = min((step - self.warmup_steps) / left, 1.0)
        if self.kind == "cosine_with_restarts" and done < 1:
            done = self.restarts * done % 1.0  # of the cycle
        return self.peak * (1 - done if self.kind == "linear" else (1 + math.cos(math.pi * done)) / 2)


def gradient_norms(store: ParameterStore, slots: torch.Tensor) -> list[float]:
    """Euclidean norm of each adapter's gradient. One transfer from the device for the whole pack."""
    norms: list[float] = torch.linalg.vector_norm(store.gradients[slots], dim=1).tolist()
    return norms


def adamw_step(
    store: ParameterStore, slot: int, steps: torch.Tensor, rate: float, decay: float, norm: float, max_norm: float
) -> None:
    """One step of one adapter. `steps` is its step counter, a float tensor () that is advanced here; `norm` its
    gradient's norm, scaled down to `max_norm` where it is above."""
    weights, gradient = store.weights[slot], store.gradients[slot]
    if norm > max_norm:
        gradient.mul_(max_norm / (norm + 1e-6))
    if decay:
        weights[: store.layout.decayed].mul_(1 - rate * decay)
    first, second = store.first[slot], store.second[slot]
    adamw(
        [weights], [gradient], [first], [second], [], [steps],
        foreach=False, fused=True, amsgrad=False, beta1=BETAS[0], beta2=BETAS[1], lr=rate, weight_decay=0.0,
        eps=EPSILON, maximize=False,
    )  # fmt: skip
    store.keep_moments(slot, first, second)


def average_step(store: ParameterStore, slot: int, step: int, *, averaging: bool = True) -> None:
    """Take an adapter's weights after step `step`, counted from 1, into their running average; without `averaging` they
    take its place."""
    share = (AVERAGING + 1) / (step + AVERAGING) if averaging else 1.0
    store.average[slot].lerp_(store.weights[slot], share)
