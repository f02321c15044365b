"""What the trainings of the embedded bases share: how the rate falls, and the average of the weights that is kept."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch


def cosine(share: float, floor: float) -> float:
    """The part of the peak rate after `share` of the steps: from 1 along half a cosine to `floor`."""
    return floor + (1 - floor) * (1 + math.cos(math.pi * share)) / 2


def follow(average: dict[str, torch.Tensor], state: Iterable[tuple[str, torch.Tensor]], kept: float) -> None:
    """Take weights, by name, into their exponential average, of which the share `kept` stays. What is no floating-point
    number is as it is now."""
    for name, value in state:
        if value.is_floating_point():
            average[name].lerp_(value, 1 - kept)
        else:
            average[name].copy_(value)
