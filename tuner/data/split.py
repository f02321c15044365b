"""Cutting rows into splits and drawing samples of them: stratified, seeded, and never one text in two splits.

Works on indices only. Knows nothing of files, texts or labels: the caller says what makes two rows the same
(`identities`) and which rows should be spread evenly (`strata`).
"""

from __future__ import annotations

import random
from collections.abc import Hashable, Sequence


def cut(
    strata: Sequence[Hashable], sizes: Sequence[int], seed: int, identities: Sequence[Hashable] | None = None
) -> list[list[int]]:
    """Indices of what is left, then of each part in `sizes` (in rows); each list is in the order of the rows.

    Every stratum gives its share of every part (largest remainders). Rows of one identity stay together, so that a part
    may miss its size by the few rows of a repeated text. The same arguments give the same parts.
    """
    groups: dict[Hashable, list[int]] = {}
    for index in range(len(strata)):
        groups.setdefault(identities[index] if identities is not None else index, []).append(index)
    by_stratum: dict[Hashable, list[list[int]]] = {}
    for group in groups.values():
        by_stratum.setdefault(strata[group[0]], []).append(group)
    # Sets and dicts may come in any order; the text form of a stratum does not.
    ordered = sorted(by_stratum.items(), key=lambda item: repr(item[0]))
    draw = random.Random(seed)
    for _, members in ordered:
        draw.shuffle(members)
    parts: list[list[int]] = []
    for size in sizes:
        left = [sum(map(len, members)) for _, members in ordered]
        part: list[int] = []
        for (_, members), wanted in zip(ordered, _shares(left, size, draw), strict=True):
            taken = 0
            while members and taken < wanted:
                group = members.pop()
                taken += len(group)
                part.extend(group)
        parts.append(sorted(part))
    rest = sorted(index for _, members in ordered for group in members for index in group)
    return [rest, *parts]


def sample(strata: Sequence[Hashable], size: int, seed: int) -> list[int]:
    """Indices of `size` rows drawn without replacement, each stratum by its share; all if there are not so many."""
    if size >= len(strata):
        return list(range(len(strata)))
    return cut(strata, [size], seed)[1]


def _shares(left: Sequence[int], size: int, draw: random.Random) -> list[int]:
    """`size` divided in proportion to `left`, in whole rows: the largest remainders get what rounding down leaves."""
    total = sum(left)
    size = min(size, total)
    if not size:
        return [0] * len(left)
    shares = [count * size // total for count in left]
    # Ties are drawn, so that equal strata are not always served in the same order.
    ties = [draw.random() for _ in left]
    order = sorted(range(len(left)), key=lambda i: (-(left[i] * size % total), ties[i]))
    for index in order[: size - sum(shares)]:
        shares[index] += 1
    return shares
