"""Dropout masks as a function: of what they depend on, and of what not."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tuner.lora.dropout import keep_masks, mix, site_key

words = st.integers(0, 2**32 - 1)


def masks(keys: list[int], rates: list[float], length: int, width: int) -> torch.Tensor:
    return keep_masks(torch.tensor(keys, dtype=torch.int32), torch.tensor(rates), length, width, torch.float32)


@settings(max_examples=40, deadline=None)
@given(words, words, st.integers(1, 9), st.integers(1, 13), st.integers(0, 6), st.sampled_from([0.1, 0.5]))
def test_a_mask_does_not_depend_on_company_or_length(
    seed: int, step: int, length: int, width: int, more: int, rate: float
) -> None:
    key = mix(seed, step, site_key("layer.0"))
    alone = masks([key], [rate], length, width)[0]
    together = masks([mix(7, 7, 7), key, mix(8, 8, 8)], [0.9, rate, 0.0], length + more, width)
    assert torch.equal(together[1, :length], alone)
    assert torch.equal(together[2], torch.ones_like(together[2]))


def test_seed_step_site_and_element_all_count() -> None:
    known = mix(1, 2, site_key("a"))
    others = [mix(2, 2, site_key("a")), mix(1, 3, site_key("a")), mix(1, 2, site_key("b"))]
    drawn = masks([known, *others], [0.5] * 4, 20, 20)
    for other in drawn[1:]:
        assert 0.3 < (drawn[0] == other).float().mean() < 0.7
    assert not torch.equal(drawn[0, 0], drawn[0, 1])
    assert torch.equal(masks([known], [0.5], 20, 20)[0], drawn[0])
    assert mix(1, 2, 3) != mix(2, 1, 3)  # the order counts


@pytest.mark.parametrize("rate", [0.05, 0.1, 0.25, 0.5, 0.9])
def test_rate_within_three_sigma_and_mean_unbiased(rate: float) -> None:
    rounded = round(rate * 256) / 256
    drawn = masks([mix(seed, 0, 99) for seed in range(20)], [rate] * 20, 100, 100)
    count = drawn.numel()
    sigma = math.sqrt(rounded * (1 - rounded) / count)
    assert abs((drawn == 0).float().mean().item() - rounded) < 3 * sigma
    assert abs(drawn.double().mean().item() - 1) < 3 * sigma / (1 - rounded)
    assert drawn.unique().tolist() == pytest.approx([0, 1 / (1 - rounded)])


@pytest.mark.parametrize("axis", ["seed", "step", "site", "token", "feature"])
def test_neighbours_are_independent(axis: str) -> None:
    """Correlation of masks that differ by one in one of the things they depend on."""
    size = 256
    keys = {
        "seed": (mix(6, 5, 5), mix(5, 5, 5)),
        "step": (mix(5, 6, 5), mix(5, 5, 5)),
        "site": (mix(5, 5, 6), mix(5, 5, 5)),
    }
    left, right = masks(list(keys.get(axis, (mix(5, 5, 5),) * 2)), [0.5, 0.5], size, size) - 1
    if axis == "token":
        left, right = left[1:], right[:-1]
    elif axis == "feature":
        left, right = left[:, 1:], right[:, :-1]
    correlation = (left * right).mean().item()
    assert abs(correlation) < 4 / size  # four sigma


@pytest.mark.parametrize("rate", [0.998, 0.9999])
def test_a_rate_next_to_one_stays_finite(rate: float) -> None:
    drawn = masks([mix(1, 1, 1)], [rate], 100, 100)
    assert drawn.isfinite().all()
    assert (drawn == 0).float().mean() > 0.98


@given(words, words, words)
def test_keys_fit_an_int32(seed: int, step: int, site: int) -> None:
    assert -(2**31) <= mix(seed, step, site) < 2**31
