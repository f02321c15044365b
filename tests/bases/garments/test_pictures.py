"""Many pictures at once are the pictures one by one."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuner.bases.garments.draw import draw
from tuner.bases.garments.pictures import SIZE, drawn, mixed
from tuner.bases.garments.sample import general
from tuner.bases.garments.styles import STYLES


@pytest.mark.parametrize("size", [32, 48])
def test_each_picture_is_that_of_its_look(size: int) -> None:
    looks = mixed(5, 8, 0.5)
    found = drawn(looks, size)
    assert (found.shape, found.dtype) == ((8, size, size, 3), np.uint8)
    for look, picture in zip(looks, found, strict=True):
        assert np.array_equal(picture, draw(look, size))


def test_the_usual_size() -> None:
    assert drawn(general(1, 1)).shape == (1, SIZE, SIZE, 3)
    assert drawn([]).shape == (0, SIZE, SIZE, 3)


@given(st.integers(0, 999), st.integers(1, 60), st.floats(0, 0.9))
def test_a_share_of_the_looks_has_a_style(seed: int, count: int, share: float) -> None:
    looks = mixed(seed, count, share)
    styles = Counter(look.style for look in looks if look.style)
    each = round(count * share / 4)
    if each * 4 > count:  # so few that rounding asks for more than there are
        return
    assert len(looks) == count
    assert styles == (dict.fromkeys(STYLES, each) if each else {})
    assert looks[: count - 4 * each] == general(seed, count - 4 * each)
    assert mixed(seed, count, share) == looks
