"""How a text's tokens are chosen, as whoever asks for the text says it. Imports no torch; `choice.py` does it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Taste:
    """How a text's tokens are chosen. `temperature` 0 takes the likeliest; else tokens are drawn from the likeliest
    ones that have `top_p` of the probability together. The penalties lower the logits of what was said: `presence`
    once, `frequency` for each time. Without a seed every text has another."""

    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None
    presence: float = 0.0
    frequency: float = 0.0


GREEDY = Taste()
