"""The first trials of a search, spread over the space: a Latin hypercube (McKay, Beckman and Conover 1979).

Independent draws clump: among 8 of them, the best eighth of a range is missed one time in three. Here each range is
cut into as many parts of equal chance as there are trials, and each part is drawn from once. Entries with `when` are
left out: which trials have them is known only when they are asked. Knows nothing of what was tried before.
"""

from __future__ import annotations

import math
import random
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from tuner.study.space import Space


def latin_hypercube(space: Space, count: int, seed: int) -> list[dict[str, Any]]:
    """`count` points as Optuna knows them, with all unconditional searched entries. A function of its arguments."""
    points: list[dict[str, Any]] = [{} for _ in range(count)]
    draw = random.Random(seed)
    for name, distribution in space.distributions(conditional=False).items():
        parts = draw.sample(range(count), count)
        for point, part in zip(points, parts, strict=True):
            point[name] = _at((part + draw.random()) / count, distribution)
    return points


def _at(share: float, distribution: BaseDistribution) -> Any:
    """The value below which `share` of a distribution lies, 0 <= share < 1."""
    if isinstance(distribution, FloatDistribution):
        low, high = distribution.low, distribution.high
        value = low * (high / low) ** share if distribution.log else low + share * (high - low)
        return min(max(value, low), high)
    if isinstance(distribution, IntDistribution):
        low, high, step = distribution.low, distribution.high, distribution.step
        if distribution.log:  # as Optuna draws: from half below to half above, rounded
            value = round(math.exp(math.log(low - 0.5) + share * (math.log(high + 0.5) - math.log(low - 0.5))))
            return min(max(value, low), high)
        return low + step * int(share * ((high - low) // step + 1))
    assert isinstance(distribution, CategoricalDistribution)
    return distribution.choices[int(share * len(distribution.choices))]
