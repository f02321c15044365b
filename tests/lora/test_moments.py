"""Moments in 8 bits: how close they are kept, that to keep them again changes nothing, and that training goes on."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tuner.lora.moments import BLOCK, Moments, signed_map, squared_map
from tuner.lora.optim import adamw_step, gradient_norms
from tuner.lora.parameters import AdapterShape, ParameterStore, Site

CPU = torch.device("cpu")
SITES = [Site("a", 24, 40), Site("b", 40, 24), Site("head", 40, 3, full=True, bias=True)]


def drawn(shape: AdapterShape, seed: int, magnitude: float = 1.0) -> dict[str, torch.Tensor]:
    """Random tensors of an adapter."""
    generator = torch.Generator().manual_seed(seed)
    store = ParameterStore(SITES, 1, CPU)
    store.put(0, shape, {})
    return {name: torch.randn(value.shape, generator=generator) * magnitude for name, value in store.tensors(0).items()}


def spread(seed: int, blocks: int, decades: float) -> torch.Tensor:
    """Numbers of both signs over so many decades, some of them zero."""
    generator = torch.Generator().manual_seed(seed)
    size = (blocks * BLOCK,)
    row = torch.randn(size, generator=generator) * 10 ** (-decades * torch.rand(size, generator=generator))
    return row * (torch.rand(size, generator=generator) > 0.1)


@pytest.mark.parametrize(("shares", "least"), [(signed_map(), -1.0), (squared_map(), 0.0)])
def test_maps_ascend_in_255_shares_from_end_to_end(shares: torch.Tensor, least: float) -> None:
    assert len(shares) == 255
    assert (shares.diff() > 0).all()
    assert (shares[0].item(), shares[-1].item()) == (least, 1.0)
    assert 0 in shares


def test_every_row_and_block_has_a_scale_of_its_own() -> None:
    rows = Moments(2, 2 * BLOCK, signed_map(), CPU)
    assert not rows[0].any()
    row = spread(0, 2, 0.5)
    row[BLOCK:] *= 1e-9
    rows[1] = row
    assert not rows[0].any()
    for part in (slice(0, BLOCK), slice(BLOCK, None)):
        found, given_ = rows[1][part], row[part]
        assert found.abs().max() == given_.abs().max()  # the largest is exact
        large = given_.abs() > 0.1 * given_.abs().max()
        torch.testing.assert_close(found[large], given_[large], rtol=0.06, atol=0)
        assert (found[given_ == 0] == 0).all()


def test_the_root_of_the_second_moment_is_close_over_seven_decades_and_never_lost() -> None:
    row = spread(1, 4, 9).square()
    rows = Moments(1, len(row), squared_map(), CPU)
    rows[0] = row
    found = rows[0]
    assert torch.equal(found == 0, row == 0)
    relative = (row.view(-1, BLOCK) / row.view(-1, BLOCK).amax(1, keepdim=True)).flatten().sqrt()
    near = relative > 1e-3
    torch.testing.assert_close(found[near].sqrt(), row[near].sqrt(), rtol=0.15, atol=0)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 3), st.floats(0, 20), st.floats(-30, 15))
def test_to_keep_what_was_kept_changes_no_bit(seed: int, blocks: int, decades: float, magnitude: float) -> None:
    row = spread(seed, blocks, decades) * 10**magnitude
    for shares, given_ in ((signed_map(), row), (squared_map(), row.square())):
        rows = Moments(1, len(row), shares, CPU)
        rows[0] = given_
        once = rows[0]
        rows[0] = once
        assert torch.equal(rows[0], once)


def test_a_number_takes_two_bytes_and_a_share_of_its_scale() -> None:
    rows = [Moments(3, 64 * BLOCK, shares, CPU) for shares in (signed_map(), squared_map())]
    assert sum(each.nbytes for each in rows) / (3 * 64 * BLOCK) == pytest.approx(2.03125)


def steps_of(store: ParameterStore, slot: int, shape: AdapterShape, count: int, start: int = 0) -> None:
    """Steps down the square of the distance to a target that is a function of the shape."""
    target = torch.zeros(store.layout.size)
    store.layout.fill(target, drawn(shape, 77, 0.5))
    counter = torch.tensor(float(start))
    for _ in range(count):
        store.gradients[slot] = store.weights[slot] - target
        norm = gradient_norms(store, torch.tensor([slot]))[0]
        adamw_step(store, slot, counter, 0.02, 0.0, norm, 1.0)


def test_training_arrives_where_it_does_in_fp32() -> None:
    shape = AdapterShape(4, frozenset({"a", "b"}), frozenset({"head"}))
    ends = []
    for compressed in (False, True):
        store = ParameterStore(SITES, 2, CPU, compressed=compressed)
        store.put(1, shape, drawn(shape, 3))
        steps_of(store, 1, shape, 20)
        early = store.tensors(1)
        steps_of(store, 1, shape, 280, 20)
        ends.append((early, store.tensors(1)))
    goal = drawn(shape, 77, 0.5)
    for name in goal:
        torch.testing.assert_close(ends[1][0][name], ends[0][0][name], rtol=0, atol=0.05)
        for _, end in ends:
            torch.testing.assert_close(end[name], goal[name], rtol=0, atol=0.02)


def test_steps_are_the_same_whoever_shares_the_store_and_after_a_checkpoint() -> None:
    """Ranks pad rows differently, and a checkpoint is fp32: neither changes a bit of what comes next."""
    shape = AdapterShape(3, frozenset({"a", "b"}), frozenset({"head"}))
    alone = ParameterStore(SITES, 1, CPU, compressed=True)
    alone.put(0, shape, drawn(shape, 5))
    steps_of(alone, 0, shape, 12)

    busy = ParameterStore(SITES, 3, CPU, compressed=True)
    busy.put(1, shape, drawn(shape, 5))
    steps_of(busy, 1, shape, 5)
    big = AdapterShape(20, frozenset({"a"}), frozenset({"head"}))
    busy.put(0, big, drawn(big, 6))
    steps_of(busy, 0, big, 2)
    steps_of(busy, 1, shape, 3, 5)
    saved = {kind: busy.tensors(1, kind) for kind in ("weights", "first", "second")}

    resumed = ParameterStore(SITES, 2, CPU, compressed=True)
    resumed.put(0, shape, saved["weights"])
    for kind in ("first", "second"):
        resumed.restore(0, kind, saved[kind])
    steps_of(resumed, 0, shape, 4, 8)
    for kind in ("weights", "first", "second"):
        for name, value in alone.tensors(0, kind).items():
            torch.testing.assert_close(resumed.tensors(0, kind)[name], value, rtol=1e-6, atol=0, msg=f"{kind} {name}")


def test_padding_stays_zero() -> None:
    store = ParameterStore(SITES, 2, CPU, compressed=True)
    shape = AdapterShape(3, frozenset({"a"}), frozenset({"head"}))
    for slot, rank in enumerate((3, 20)):
        other = AdapterShape(rank, shape.targets, shape.full)
        store.put(slot, other, drawn(other, slot))
    steps_of(store, 0, shape, 3)
    inside = torch.zeros(store.layout.size)
    store.layout.fill(inside, {name: torch.ones_like(value) for name, value in store.tensors(0).items()})
    for rows in (store.weights, store.first, store.second):
        assert not rows[0][inside == 0].any()
        assert rows[0][inside == 1].any()
    assert all(where.start % BLOCK == 0 for where, _ in store.layout.slices.values())
