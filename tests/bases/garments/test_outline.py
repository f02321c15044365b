"""Outlines: what is rounded, what stays sharp, what is symmetric."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tuner.bases.garments.outline import both, line, mirrored, rounded

SQUARE = ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0))


def test_a_sharp_corner_stays_and_a_round_one_is_cut() -> None:
    sharp = rounded([(x, y, 0) for x, y in SQUARE]).round(9)
    assert {tuple(point) for point in sharp.tolist()} == set(SQUARE)
    soft = rounded([(x, y, 1) for x, y in SQUARE]).round(9)
    assert np.hypot(*(soft - 0.5).T).max() < 0.6
    assert (0.5, 0.0) in {tuple(point) for point in soft.tolist()}


@given(st.floats(0, 1))
def test_rounding_never_leaves_the_corners_hull(roundness: float) -> None:
    points = rounded([(x, y, roundness) for x, y in SQUARE]).round(9)
    assert points.min() >= 0
    assert points.max() <= 1


def test_a_mirrored_outline_is_symmetric() -> None:
    points = mirrored([(0, 0.1, 1), (0.3, 0.2, 0.5), (0.2, 0.9, 0.2), (0, 0.9, 0)])
    other = points * [-1, 1] + [1, 0]
    assert np.allclose(sorted(map(tuple, points.round(9).tolist())), sorted(map(tuple, other.round(9).tolist())))
    assert np.allclose(both(line((0.2, 0.3)))[1], [(0.8, 0.3)])
