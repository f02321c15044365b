"""Packed layers: many adapters through one frozen layer, against each by itself."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
import torch
from torch import nn

from tuner.lora.packed import Member, Pack, PackContext, Stretches, wrap_linears
from tuner.lora.parameters import AdapterShape, ParameterStore

CPU = torch.device("cpu")
COUNTS, RANKS, SCALES = [3, 1, 4], [1, 5, 3], [0.5, 2.0, 1.0]


def build(
    dtype: torch.dtype = torch.float32,
) -> tuple[nn.ModuleDict, PackContext, ParameterStore, nn.Linear, nn.Linear]:
    torch.manual_seed(0)
    model = nn.ModuleDict({"lora": nn.Linear(6, 5), "head": nn.Linear(5, 2)})
    lora, head = model["lora"], model["head"]
    context = PackContext(CPU)
    store = ParameterStore(wrap_linears(model, ["lora"], ["head"], context), len(RANKS) + 1, CPU)
    for slot, rank in enumerate(RANKS):
        tensors = {
            "lora.A": torch.randn(rank, 6), "lora.B": torch.randn(5, rank),
            "head.weight": torch.randn(2, 5), "head.bias": torch.randn(2),
        }  # fmt: skip
        store.put(slot, AdapterShape(rank, frozenset({"lora"}), frozenset({"head"})), tensors)
    return model, context, store, lora, head  # type: ignore[return-value]


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 0, 1], [1]])
def test_forward_and_gradients_equal_autograd_of_each_member(order: list[int]) -> None:
    model, context, store, base, _ = build()
    counts = [COUNTS[slot] for slot in order]
    x = torch.randn(sum(counts), 6, requires_grad=True)
    pack = Pack(store, [Member(slot, SCALES[slot]) for slot in order], torch.float32, train=True)
    pack.bring(counts)
    context.pack = pack
    y = model["head"](torch.tanh(model["lora"](x)))
    y.square().sum().backward()
    pack.flush_gradients()

    theirs = x.detach().clone().requires_grad_()
    for slot, part, mine, gradient in zip(
        order, theirs.split(counts), y.split(counts), x.grad.split(counts), strict=True
    ):
        tensors = {name: value.requires_grad_() for name, value in store.tensors(slot).items()}
        low = part @ tensors["lora.A"].T @ tensors["lora.B"].T * SCALES[slot]
        expected = torch.tanh(base(part) + low) @ tensors["head.weight"].T + tensors["head.bias"]
        torch.testing.assert_close(mine, expected)
        (gx,) = torch.autograd.grad(expected.square().sum(), part, retain_graph=True)
        torch.testing.assert_close(gradient, gx)
        expected.square().sum().backward()
        shape = store.shapes[slot]
        assert shape is not None
        found = store.layout.trimmed(store.gradients[slot], shape)
        for name, value in tensors.items():
            torch.testing.assert_close(found[name], value.grad, msg=name)


def test_without_a_pack_the_base_speaks() -> None:
    model, context, store, base, head = build()
    x = torch.randn(4, 6)
    assert torch.equal(model["lora"](x), base(x))
    assert torch.equal(model["head"](x[:, :5]), head(x[:, :5]))
    context.pack = Pack(store, [], torch.float32, train=False)
    context.pack.bring([4])
    assert torch.equal(model["lora"](x), base(x))


def test_a_layer_nobody_targets_costs_nothing_and_changes_nothing() -> None:
    model, context, store, base, _ = build()
    for slot in range(len(RANKS)):
        store.put(slot, AdapterShape(2, frozenset(), frozenset({"head"})), {})
    context.pack = Pack(store, [Member(0, 1.0)], torch.float32, train=True)
    context.pack.bring([4])
    x = torch.randn(4, 6)
    assert torch.equal(model["lora"](x), base(x))


def test_dropout_falls_on_the_adapter_alone_and_backward_sees_the_same_mask() -> None:
    model, context, store, base, _ = build()
    x = torch.randn(8, 6, requires_grad=True)
    pack = Pack(store, [Member(slot, 1.0, 0.5, seed=slot, step=3) for slot in range(3)], torch.float32, train=True)
    pack.bring(COUNTS)
    context.pack = pack
    y = model["lora"](x)
    y.sum().backward()
    _, mask = pack.padded(x, "lora")
    assert mask is not None
    assert (mask == 0).any()
    flat = pack.tokens.unpad(mask)
    for slot, part, keep, mine, gradient in zip(
        range(3), x.split(COUNTS), flat.split(COUNTS), y.split(COUNTS), x.grad.split(COUNTS), strict=True
    ):
        tensors = store.tensors(slot)
        torch.testing.assert_close(mine, base(part) + (part * keep) @ tensors["lora.A"].T @ tensors["lora.B"].T)
        product = tensors["lora.B"] @ tensors["lora.A"]
        torch.testing.assert_close(gradient, base.weight.sum(0) + product.sum(0) * keep)
    evaluating = Pack(store, [Member(0, 1.0, 0.5)], torch.float32, train=False)
    assert not evaluating.drops


def test_a_module_used_twice_gathers_both_gradients() -> None:
    model, context, store, base, _ = build()
    x = torch.randn(3, 6)
    pack = Pack(store, [Member(0, 1.0)], torch.float32, train=True)
    pack.bring([3])
    context.pack = pack
    once = model["lora"](x)
    (once.square().sum() + model["lora"](x * 2).square().sum()).backward()
    pack.flush_gradients()
    tensors = {name: value.requires_grad_() for name, value in store.tensors(0).items()}
    total = torch.zeros(())
    for part in (x, x * 2):
        total = total + (base(part) + part @ tensors["lora.A"].T @ tensors["lora.B"].T).square().sum()
    total.backward()
    shape = store.shapes[0]
    assert shape is not None
    found = store.layout.trimmed(store.gradients[0], shape)
    torch.testing.assert_close(found["lora.A"], tensors["lora.A"].grad)
    torch.testing.assert_close(found["lora.B"], tensors["lora.B"].grad)


def test_layers_that_read_the_same_memory_at_one_place_share_what_is_padded() -> None:
    _, _, store, _, _ = build()
    pack = Pack(store, [Member(slot, 1.0, 0.5, seed=slot) for slot in range(3)], torch.float32, train=True)
    pack.bring(COUNTS)
    x = torch.randn(1, 8, 6)
    padded, mask = pack.padded(x[0], "place")
    again, same = pack.padded(x.flatten(0, 1), "place")  # another view of it
    assert again is padded
    assert same is mask
    assert not torch.equal(pack.padded(x[0], "elsewhere")[0], padded)  # a mask of its own
    torch.testing.assert_close(pack.padded(x[0] * 2, "place")[0], padded * 2)
    pack.padded(x[0], "place")
    pack.bring([8, 0, 0])
    assert pack.padded(x[0], "place")[0].shape == (3, 8, 6)  # nothing is left of the batch before


def test_what_was_padded_keeps_its_memory_from_the_next_input() -> None:
    """Else the allocator puts the next input where the last one lay, and it is taken for that."""
    _, _, store, _, _ = build()
    pack = Pack(store, [Member(0, 1.0), Member(1, 1.0)], torch.float32, train=True)
    pack.bring([3, 1])  # uneven, so that what is padded is a copy
    memory = np.ones((4, 6), dtype=np.float32)
    pack.padded(torch.from_numpy(memory), "place")
    held = weakref.ref(memory)
    del memory
    assert held() is not None
    pack.bring([3, 1])
    assert held() is None


def test_a_pack_is_freed_without_the_collector() -> None:
    model, context, store, _, _ = build()
    pack = Pack(store, [Member(0, 1.0)], torch.float32, train=True)
    pack.bring([4])
    context.pack = pack
    x = model["lora"](torch.randn(4, 6)) @ torch.randn(5, 6)  # what is padded next has a graph that holds the pack
    y = model["lora"](x)
    gone = weakref.ref(pack)
    gc.disable()
    try:
        y.sum().backward()
        context.pack = None
        del pack, x, y
        assert gone() is None
    finally:
        gc.enable()


def test_gradients_replace_what_the_store_holds_or_are_added() -> None:
    model, context, store, _, _ = build()
    x = torch.randn(3, 6)
    for add, times in ((False, 1), (True, 2), (True, 3), (False, 1)):
        context.pack = Pack(store, [Member(2, 1.0)], torch.float32, train=True)
        context.pack.bring([3])
        model["lora"](x).sum().backward()
        context.pack.flush_gradients(add=add)
        if times == 1:
            once = store.gradients.clone()
        assert once[2].any()
        torch.testing.assert_close(store.gradients, once * times)
    assert not store.gradients[[0, 1]].any()


@pytest.mark.parametrize("shape", [(8, 6), (1, 8, 6), (2, 4, 6)])
def test_leading_dimensions_stay(shape: tuple[int, ...]) -> None:
    model, context, store, _, _ = build()
    context.pack = Pack(store, [Member(slot, SCALES[slot]) for slot in range(3)], torch.float32, train=True)
    context.pack.bring(COUNTS)
    x = torch.randn(8, 6)
    y = model["lora"](x.view(shape))
    assert y.shape == (*shape[:-1], 5)
    assert torch.equal(y.view(8, 5), model["lora"](x))


@pytest.mark.parametrize("counts", [[2, 2], [1, 3, 2], [4]])
def test_stretches_pad_with_zeros_and_come_back(counts: list[int]) -> None:
    x = torch.randn(sum(counts), 3)
    stretches = Stretches(counts)
    padded = stretches.pad(x)
    assert padded.shape == (len(counts), max(counts), 3)
    for row, count in zip(padded, counts, strict=True):
        assert not row[count:].any()
    assert torch.equal(stretches.unpad(padded), x)


def test_who_owns_what_is_told_by_the_number_of_things() -> None:
    _, _, store, _, _ = build()
    pack = Pack(store, [Member(0, 1.0), Member(1, 1.0)], torch.float32, train=False)
    pack.bring([2, 1], [7, 4])
    assert pack.stretches(11).counts == (7, 4)
    assert pack.stretches(3).counts == (2, 1)
    assert pack.stretches(12).counts == (8, 4)
    with pytest.raises(ValueError, match="cannot be divided"):
        pack.stretches(10)


def test_only_linear_layers_are_wrapped() -> None:
    model = nn.ModuleDict({"norm": nn.LayerNorm(3)})
    with pytest.raises(TypeError, match="norm is a LayerNorm"):
        wrap_linears(model, ["norm"], [], PackContext(CPU))


def test_the_base_is_frozen() -> None:
    model, *_ = build()
    assert not any(parameter.requires_grad for parameter in model.parameters())
