"""Which token comes next: the likeliest, or one drawn with the text's own random numbers.

A draw uses one uniform number of the text's generator, whatever its company: sorted by likelihood, the token in whose
share of the sum the number falls. So the same seed draws the same tokens from the same logits on every device.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from tuner.lora.taste import Taste


@dataclass(eq=False)
class Chooser:
    """Taste at work on one text: what it has said, and its random numbers."""

    taste: Taste
    said: Counter[int] = field(default_factory=Counter, init=False)
    _generator: torch.Generator = field(default_factory=torch.Generator, init=False)

    def __post_init__(self) -> None:
        if self.taste.seed is None:
            self._generator.seed()
        else:
            self._generator.manual_seed(self.taste.seed)

    @property
    def penalises(self) -> bool:
        """Whether what was said changes what is said."""
        return self.taste.presence != 0 or self.taste.frequency != 0

    def uniform(self) -> float:
        """The next random number, in [0, 1)."""
        return float(torch.rand((), generator=self._generator))


def choose(logits: torch.Tensor, choosers: Sequence[Chooser]) -> list[int | None]:
    """The next token of each text from its logits (B, V), fp32, which are changed; None where they are not finite."""
    for row, chooser in enumerate(choosers):
        if chooser.penalises and chooser.said:
            said = torch.tensor(list(chooser.said), device=logits.device)
            times = torch.tensor(list(chooser.said.values()), dtype=torch.float32, device=logits.device)
            logits[row, said] -= chooser.taste.presence + chooser.taste.frequency * times
    top, likeliest = logits.max(-1)  # a NaN is the greatest of all
    drawing = [row for row, chooser in enumerate(choosers) if chooser.taste.temperature > 0]
    if drawing:
        at = torch.tensor(drawing, device=logits.device)
        likeliest[at] = _drawn(logits[at], [choosers[row] for row in drawing])
    tokens: list[int | None] = []
    for chooser, token, finite in zip(choosers, likeliest.tolist(), top.isfinite().tolist(), strict=True):
        if finite and chooser.penalises:
            chooser.said[token] += 1
        tokens.append(token if finite else None)
    return tokens


def _drawn(logits: torch.Tensor, choosers: Sequence[Chooser]) -> torch.Tensor:
    """One token a row, (B,)."""

    def column(values: Sequence[float]) -> torch.Tensor:
        return torch.tensor(values, dtype=torch.float32, device=logits.device)[:, None]

    # the greatest is subtracted first, so that a temperature near 0 leaves the range of fp32 on the side of 0 alone
    cold = (logits - logits.amax(-1, keepdim=True)) / column([max(c.taste.temperature, 1e-6) for c in choosers])
    probabilities, order = cold.softmax(-1).sort(dim=-1, descending=True, stable=True)
    below = probabilities.cumsum(-1) - probabilities
    # the likeliest is always among them
    kept = (below < column([c.taste.top_p for c in choosers])).index_fill_(1, order.new_zeros(1), True)
    sums = (probabilities * kept).cumsum(-1)
    drawn = torch.searchsorted(sums, sums[:, -1:] * column([c.uniform() for c in choosers]), right=True)
    drawn = drawn.minimum(kept.sum(-1, keepdim=True) - 1)
    return order.gather(-1, drawn).flatten()
