"""Which token comes next: the likeliest, or one drawn with the text's own random numbers.

A draw uses one uniform number of the text's generator, whatever its company: the token in whose share of the sum the
number falls, the shares being in the order of the tokens' numbers. In the order of likelihood, two tokens that are as
good as equally likely would change places with the last bit of a logit, as it differs by company and device.
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
    probabilities = cold.softmax(-1)
    sorted_, order = probabilities.sort(dim=-1, descending=True, stable=True)
    # the likeliest is always among them
    nucleus = (sorted_.cumsum(-1) - sorted_ < column([c.taste.top_p for c in choosers])).index_fill_(
        1, order.new_zeros(1), True
    )
    kept = torch.empty_like(nucleus).scatter_(1, order, nucleus)
    sums = (probabilities * kept).cumsum(-1)  # (B, V), by the tokens' numbers
    total = sums[:, -1:]
    drawn = torch.searchsorted(sums, total * column([c.uniform() for c in choosers]), right=True)
    return drawn.minimum((sums < total).sum(-1, keepdim=True)).flatten()  # a product may be rounded up to the total
