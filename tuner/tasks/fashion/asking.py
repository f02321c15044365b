"""What is asked of a server that draws, what it answers, and how far an ask may go. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tuner.bases.diffusion import DiffusionFacts
from tuner.errors import Problem
from tuner.tasks.fashion.settings import SMALLEST

MOST_STEPS = 100
"""A solver of second order gains nothing from more, and each step is a forward."""
MOST_SEED = 2**63 - 1
LEAST_GUIDANCE, MOST_GUIDANCE = 1.0, 50.0
USUAL = 512
"""Pixels a side where neither adapter nor base says."""
_LARGEST = 1024  # pixels a side


@dataclass(frozen=True)
class PictureAsk:
    """One square picture. What is None is as the adapter was judged with (its negative prompt, denoising steps, side in
    pixels, guidance), and the seed is the prompt's own."""

    prompt: str
    negative_prompt: str | None = None
    seed: int | None = None
    steps: int | None = None
    side: int | None = None
    guidance: float | None = None


@dataclass(frozen=True)
class DrawnPicture:
    """A picture (side, side, 3), uint8, the seed of its noise and the steps it took. `prompt` is what the text encoder
    was given, of which it did not read `unread`; `tokens` is how many it did read."""

    picture: np.ndarray
    seed: int
    steps: int
    prompt: str
    unread: str
    tokens: int


@dataclass(frozen=True)
class Limits:
    """Sides in pixels, from `least` to `most`, multiples of `step`.

    Up to twice the side that the base was trained for: beyond, a UNet repeats what it draws instead of drawing it
    larger, while attention costs the fourth power of the side. Never more than 1024, but for a base of more.
    """

    step: int
    least: int
    most: int

    @classmethod
    def of(cls, facts: DiffusionFacts) -> Limits:
        """Those of a base."""
        trained = facts.resolution or USUAL
        return cls(facts.step, -(-SMALLEST // facts.step) * facts.step, max(trained, min(2 * trained, _LARGEST)))

    def problems(self, ask: PictureAsk) -> Iterator[Problem]:
        """What is wrong with an ask's numbers."""
        if ask.side is not None and not (self.least <= ask.side <= self.most and ask.side % self.step == 0):
            rule = f"a side must be a multiple of {self.step} from {self.least} to {self.most} pixels"
            nearest = min(max(round(ask.side / self.step) * self.step, self.least), self.most // self.step * self.step)
            cure = f"Ask for {nearest}x{nearest}, or for auto."
            yield Problem("size", f"{ask.side}x{ask.side}", rule, cure)
        if ask.steps is not None and not 1 <= ask.steps <= MOST_STEPS:
            yield Problem("steps", ask.steps, f"must be from 1 to {MOST_STEPS}", "Try 25.")
        if ask.seed is not None and not 0 <= ask.seed <= MOST_SEED:
            yield Problem("seed", ask.seed, f"must be from 0 to {MOST_SEED}")
        if ask.guidance is not None and not LEAST_GUIDANCE <= ask.guidance <= MOST_GUIDANCE:
            rule = f"must be from {LEAST_GUIDANCE:g}, for none, to {MOST_GUIDANCE:g}"
            yield Problem("guidance", ask.guidance, rule, "Try 7.5.")
