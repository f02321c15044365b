"""Schedules against transformers, AdamW with clipping against torch, member by member."""

from __future__ import annotations

import math

import pytest
import torch
from transformers import (
    get_cosine_schedule_with_warmup,
    get_cosine_with_hard_restarts_schedule_with_warmup,
    get_linear_schedule_with_warmup,
)

from tuner.lora.optim import AVERAGING, Schedule, adamw_step, average_step, gradient_norms
from tuner.lora.parameters import AdapterShape, ParameterStore, Site

REFERENCES = {
    "linear": get_linear_schedule_with_warmup,
    "cosine": get_cosine_schedule_with_warmup,
    "cosine_with_restarts": get_cosine_with_hard_restarts_schedule_with_warmup,
}
KINDS = [("linear", 1), ("cosine", 1), *(("cosine_with_restarts", restarts) for restarts in (1, 2, 3, 7, 40))]


@pytest.mark.parametrize(("kind", "restarts"), KINDS)
@pytest.mark.parametrize("warmup", [0, 5])
def test_decay_is_that_of_transformers(kind: str, restarts: int, warmup: int) -> None:
    total = 30
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    cycles = {"num_cycles": restarts} if kind == "cosine_with_restarts" else {}
    reference = REFERENCES[kind](optimizer, warmup, total, **cycles)
    ours = Schedule(0.1, total, warmup, kind, restarts)
    for step in range(total):
        if step >= warmup:
            assert ours.rate(step) == pytest.approx(reference.get_last_lr()[0], rel=1e-9, abs=1e-12)
        optimizer.step()
        reference.step()
    assert ours.rate(total) == pytest.approx(0, abs=1e-12)
    assert ours.rate(total + 5) == pytest.approx(0, abs=1e-12)  # never below zero, never up again


def test_each_cycle_starts_at_the_peak() -> None:
    schedule = Schedule(1.0, 44, 4, "cosine_with_restarts", 4)
    assert [step for step in range(4, 44) if schedule.rate(step) == 1.0] == [4, 14, 24, 34]
    assert schedule.rate(13) < 0.05


def test_warmup_rises_in_equal_steps_and_wastes_none() -> None:
    schedule = Schedule(1.0, 100, 4)
    assert [schedule.rate(step) for step in range(6)] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0, 1.0])


def test_constant_and_all_warmup() -> None:
    assert {Schedule(0.5, 10).rate(step) for step in range(50)} == {0.5}
    assert Schedule(1.0, 4, 4, "linear").rate(4) == 1.0


def test_members_are_clipped_and_stepped_each_by_itself() -> None:
    sites = [Site("lora", 6, 5), Site("head", 5, 2, full=True, bias=True)]
    store = ParameterStore(sites, 3, torch.device("cpu"))
    shape = AdapterShape(3, frozenset({"lora"}), frozenset({"head"}))
    generator = torch.Generator().manual_seed(0)

    def drawn(factor: float = 1.0) -> dict[str, torch.Tensor]:
        sizes = {"lora.A": (3, 6), "lora.B": (5, 3), "head.weight": (2, 5), "head.bias": (2,)}
        return {name: torch.randn(size, generator=generator) * factor for name, size in sizes.items()}

    rates, decays, sizes = [0.1, 0.01, 0.03], [0.0, 0.5, 0.1], [100.0, 0.01, 1.0]
    references = []
    for slot in range(3):
        store.put(slot, shape, drawn())
    for slot in range(3):
        tensors = {name: torch.nn.Parameter(value) for name, value in store.tensors(slot).items()}
        groups = [
            {"params": [value for name, value in tensors.items() if not name.endswith("bias")]},
            {"params": [tensors["head.bias"]], "weight_decay": 0.0},
        ]
        references.append((tensors, torch.optim.AdamW(groups, lr=rates[slot], weight_decay=decays[slot])))
    steps = [torch.zeros(()) for _ in range(3)]
    for _ in range(5):
        gradients = [drawn(size) for size in sizes]
        for slot, gradient in enumerate(gradients):
            store.layout.fill(store.gradients[slot], gradient)
        norms = gradient_norms(store, torch.arange(3))
        for slot, (tensors, optimizer) in enumerate(references):
            for name, value in tensors.items():
                value.grad = gradients[slot][name].clone()
            norm = torch.nn.utils.clip_grad_norm_(tensors.values(), 1.0)
            assert norms[slot] == pytest.approx(norm.item(), rel=1e-6)
            optimizer.step()
            adamw_step(store, slot, steps[slot], rates[slot], decays[slot], norms[slot], 1.0)
    for slot, (tensors, _) in enumerate(references):
        for name, value in store.tensors(slot).items():
            torch.testing.assert_close(value, tensors[name].data, rtol=0, atol=1e-6)
        assert steps[slot].item() == 5


def test_the_average_weighs_steps_by_their_number_to_the_power_of_eta() -> None:
    store = ParameterStore([Site("lora", 4, 3)], 2, torch.device("cpu"))
    shape = AdapterShape(2, frozenset({"lora"}), frozenset())
    for slot in range(2):
        store.put(slot, shape, {"lora.A": torch.ones(2, 4), "lora.B": torch.ones(3, 2)})
    generator = torch.Generator().manual_seed(1)
    seen = []
    for step in range(1, 31):
        store.weights[0] = torch.randn(store.layout.size, generator=generator)
        seen.append(store.weights[0].clone())
        average_step(store, 0, step)
    # the recursion in closed form: step t has the weight t (t + 1) ... (t + eta - 1), about t^eta
    shares = [math.prod(range(step, step + AVERAGING)) for step in range(1, 31)]
    expected = sum(share * weights for share, weights in zip(shares, seen, strict=True)) / sum(shares)
    torch.testing.assert_close(store.average[0], expected, rtol=0, atol=1e-5)
    assert (store.average[1] == store.weights[1]).all()  # an adapter that has not stepped is its own average
    assert sum(shares[-6:]) > 0.8 * sum(shares)  # most of it comes from the last fifth
