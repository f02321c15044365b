"""The store of many adapters: layouts, exact zero padding, joining and leaving."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tuner.lora.optim import adamw_step, gradient_norms
from tuner.lora.packed import Member, Pack, PackContext, wrap_linears
from tuner.lora.parameters import AdapterShape, Layout, ParameterStore, Site, initial_tensors, tensor_shapes

CPU = torch.device("cpu")
SITES = (Site("a", 6, 4), Site("b", 4, 5), Site("c", 5, 4), Site("head", 4, 3, full=True, bias=True))
shapes = st.builds(
    AdapterShape,
    st.integers(1, 19),
    st.sets(st.sampled_from(["a", "b", "c"]), min_size=1).map(frozenset),
    st.sampled_from([frozenset(), frozenset({"head"})]),
)


def drawn(shape: AdapterShape, seed: int) -> dict[str, torch.Tensor]:
    """Tensors of which no number is zero."""
    generator = torch.Generator().manual_seed(seed)
    sizes = tensor_shapes(SITES, shape)
    return {name: torch.rand(size, generator=generator) + 0.1 for name, size in sizes.items()}


def same(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


@settings(max_examples=50, deadline=None)
@given(shapes, st.integers(0, 10))
def test_fill_and_trimmed_are_inverse(shape: AdapterShape, more: int) -> None:
    layout = Layout(SITES, shape.rank + more)
    row = torch.full((layout.size,), 9.0)
    tensors = drawn(shape, 1)
    layout.fill(row, tensors)
    assert same(layout.trimmed(row, shape), tensors)
    assert int(row.count_nonzero()) == sum(value.numel() for value in tensors.values()) == layout.count(shape)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), shapes, st.booleans()), max_size=8), shapes)
def test_who_joins_and_leaves_keeps_the_bits_of_the_others(
    moves: list[tuple[int, AdapterShape, bool]], shape: AdapterShape
) -> None:
    store = ParameterStore(SITES, 6, CPU)
    weights, first, second = (drawn(shape, seed) for seed in range(3))
    store.put(5, shape, weights)
    store.restore(5, "first", first)
    store.restore(5, "second", second)
    held: dict[int, dict[str, torch.Tensor]] = {}
    for slot, other, leaves in moves:
        if leaves:
            store.free(slot)
            held.pop(slot, None)
        else:
            held[slot] = drawn(other, slot)
            store.put(slot, other, held[slot])
        assert same(store.tensors(5), weights)
        assert same(store.tensors(5, "first"), first)
        assert same(store.tensors(5, "second"), second)
        for number, tensors in held.items():
            assert same(store.tensors(number), tensors)
            assert not store.tensors(number, "first")["a.A" if "a.A" in tensors else next(iter(tensors))].any()


@settings(max_examples=15, deadline=None)
@given(st.lists(shapes, min_size=1, max_size=4), st.sampled_from([0.0, 0.4]), st.sampled_from([0.0, 0.1]))
def test_padding_stays_exactly_zero_through_training(
    given_shapes: list[AdapterShape], dropout: float, decay: float
) -> None:
    torch.manual_seed(0)
    model = torch.nn.ModuleDict({site.name: torch.nn.Linear(site.inputs, site.outputs) for site in SITES})
    context = PackContext(CPU)
    # every member trains the head here: a pack has one answer for each row
    members = [AdapterShape(shape.rank, shape.targets, frozenset({"head"})) for shape in given_shapes]
    store = ParameterStore(wrap_linears(model, ["a", "b", "c"], ["head"], context), len(members), CPU)
    for slot, shape in enumerate(members):
        store.put(slot, shape, drawn(shape, slot))
    steps = [torch.zeros(()) for _ in members]
    for step in range(3):
        chosen = [Member(slot, 0.5, dropout, slot, step) for slot in range(len(members))]
        pack = Pack(store, chosen, torch.float32, train=True)
        pack.bring([slot + 1 for slot in range(len(members))])
        context.pack = pack
        x = torch.randn(pack.rows.total, 6)
        for name in ("a", "b", "c", "head"):
            x = model[name](x)
        x.square().sum().backward()
        context.pack = None
        pack.flush_gradients()
        for slot, norm in enumerate(gradient_norms(store, pack.index)):
            adamw_step(store, slot, steps[slot], 0.1, decay, norm, 1.0)
    for slot, shape in enumerate(members):
        inside = torch.zeros(store.layout.size)
        store.layout.fill(inside, {name: torch.ones(size) for name, size in tensor_shapes(SITES, shape).items()})
        for rows in (store.weights, store.gradients, store.first, store.second):
            assert not rows[slot][inside == 0].any()
        assert store.second[slot][inside == 1].count_nonzero() > 0


def test_initial_tensors_are_those_of_a_fresh_adapter() -> None:
    sites = (Site("a", 64, 32), Site("head", 32, 2, full=True, bias=True))
    shape = AdapterShape(8, frozenset({"a"}), frozenset({"head"}))
    tensors = initial_tensors(sites, shape, seed=3)
    assert {name: tuple(value.shape) for name, value in tensors.items()} == tensor_shapes(sites, shape)
    assert not tensors["a.B"].any()
    assert not tensors["head.bias"].any()
    bound = 1 / 8  # 1 / sqrt(64), as Kaiming uniform with a = sqrt 5
    assert bound * 0.95 < tensors["a.A"].abs().max() <= bound
    assert tensors["head.weight"].std().item() == pytest.approx(0.02, rel=0.3)
    assert same(tensors, initial_tensors(sites, shape, seed=3))
    assert not torch.equal(tensors["a.A"], initial_tensors(sites, shape, seed=4)["a.A"])


def test_unknown_names_are_refused_and_size_is_what_is_saved() -> None:
    shape = AdapterShape(2, frozenset({"a"}), frozenset({"head"}))
    store = ParameterStore(SITES, 1, CPU)
    store.put(0, shape, drawn(shape, 0))
    assert store.size_mb(0) == pytest.approx(sum(v.numel() for v in store.tensors(0).values()) * 4 / 1e6)
    with pytest.raises(KeyError):
        store.layout.fill(store.weights[0], {"b.A": torch.zeros(2, 4)})  # nobody uses b, so it has no place


def test_rows_are_held_up_to_the_last_slot_that_is_taken() -> None:
    store = ParameterStore(SITES, 33, torch.device("cpu"))
    shape = AdapterShape(2, frozenset({SITES[0].name}), frozenset())
    store.put(1, shape, drawn(shape, 0))
    assert len(store.weights) == len(store.first) == 2
    store.put(4, shape, drawn(shape, 1))
    assert len(store.weights) == 5
    store.free(4)
    assert len(store.weights) == 2
    assert same(store.tensors(1), drawn(shape, 0))


def test_an_adapter_that_finds_no_memory_leaves_the_others_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    store = ParameterStore(SITES, 3, torch.device("cpu"))
    shape = AdapterShape(2, frozenset({SITES[0].name}), frozenset())
    store.put(0, shape, drawn(shape, 0))
    real, left = torch.zeros, 2

    def full(*args: Any, **settings: Any) -> torch.Tensor:
        nonlocal left
        left -= 1
        if left < 0:
            raise torch.OutOfMemoryError
        return real(*args, **settings)

    monkeypatch.setattr(torch, "zeros", full)
    with pytest.raises(torch.OutOfMemoryError):
        store.put(1, AdapterShape(8, frozenset({SITES[0].name}), frozenset()), {})
    monkeypatch.undo()
    assert store.shapes[1] is None
    assert same(store.tensors(0), drawn(shape, 0))
    assert len(store.weights) == len(store.average) == len(store.first) == 1
