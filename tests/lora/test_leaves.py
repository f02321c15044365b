"""Modules that members train whole, against autograd of the plain module with the members' weights in it."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.func import functional_call

from tuner.lora.leaves import leaf, whole_sites, whole_weights
from tuner.lora.optim import adamw_step
from tuner.lora.packed import Member, Pack, PackContext
from tuner.lora.parameters import AdapterShape, ParameterStore, initial_tensors

PREFIX = "net."


class Net(nn.Module):
    """Every kind of module that a UNet has: convolutions, norms, linear layers with a bias and without."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.group = nn.GroupNorm(2, 4)
        self.inner = nn.Sequential(nn.Linear(4, 5, bias=False), nn.SiLU(), nn.LayerNorm(5))
        self.plain_norm = nn.LayerNorm(5, elementwise_affine=False)
        self.out = nn.Linear(5, 2)
        self.shift = nn.Parameter(torch.full((2,), 0.5))  # of no module with a weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.out(self.plain_norm(self.inner(self.group(self.conv(x)).mean((2, 3))))) + self.shift
        return found


def build(slots: int = 2, size: float = 0.3) -> tuple[Net, PackContext, ParameterStore]:
    """A net and members whose differences are random, of that size."""
    torch.manual_seed(0)
    net = Net().requires_grad_(False)
    sites = whole_sites(net, PREFIX)
    shape = AdapterShape(1, frozenset(), frozenset(site.name for site in sites))
    store = ParameterStore(sites, slots, torch.device("cpu"))
    for slot in range(slots):
        generator = torch.Generator().manual_seed(slot)
        drawn = initial_tensors(sites, shape, slot)
        store.put(slot, shape, {name: torch.randn(v.shape, generator=generator) * size for name, v in drawn.items()})
    return net, PackContext(torch.device("cpu")), store


def pack_of(store: ParameterStore, *slots: int, train: bool = True) -> Pack:
    return Pack(store, [Member(slot, 1.0) for slot in slots], torch.float32, train=train)


def run(net: Net, context: PackContext, pack: Pack, member: int, x: torch.Tensor) -> torch.Tensor:
    return functional_call(net, dict(whole_weights(net, PREFIX, context, pack, member)), (x,))


def plain(net: Net, store: ParameterStore, slot: int) -> Net:
    """The net that the member's differences make of the base."""
    own = copy.deepcopy(net)
    parameters = dict(own.named_parameters())
    for name, value in store.tensors(slot).items():
        parameters[name.removeprefix(PREFIX)] += value.reshape(parameters[name.removeprefix(PREFIX)].shape)
    return own.requires_grad_(True)


def gradients(pack: Pack, member: int) -> dict[str, torch.Tensor]:
    assert pack.gradients is not None
    shape = pack.store.shapes[member]
    assert shape is not None
    return pack.store.layout.trimmed(pack.gradients[member], shape)


def inputs(seed: int) -> torch.Tensor:
    return torch.randn(3, 3, 6, 6, generator=torch.Generator().manual_seed(seed))


def test_every_module_with_weights_is_a_site() -> None:
    sites = {site.name: site for site in whole_sites(Net(), PREFIX)}
    assert list(sites) == ["net.conv", "net.group", "net.inner.0", "net.inner.2", "net.out"]
    assert all(site.full and site.std == 0 for site in sites.values())
    assert [(s.outputs, s.inputs, s.bias) for s in sites.values()] == [
        (4, 27, True), (4, 1, True), (5, 4, False), (5, 1, True), (2, 5, True),
    ]  # fmt: skip


def test_what_is_fresh_is_the_base() -> None:
    net, context, store = build(1)
    shape = store.shapes[0]
    assert shape is not None
    store.put(0, shape, initial_tensors(store.sites, shape, 7))
    assert not store.weights.any()
    weights = dict(whole_weights(net, PREFIX, context, pack_of(store, 0), 0))
    assert weights.keys() == dict(net.named_parameters()).keys() - {"shift"}
    for name, parameter in net.named_parameters():
        assert name == "shift" or torch.equal(weights[name], parameter)


def test_outputs_and_gradients_are_those_of_the_plain_module() -> None:
    net, context, store = build()
    pack = pack_of(store, 0, 1)
    found = [run(net, context, pack, member, inputs(member)) for member in range(2)]
    sum(each.square().sum() for each in found).backward()
    for member in range(2):
        own = plain(net, store, member)
        wanted = own(inputs(member))
        torch.testing.assert_close(found[member], wanted)
        wanted.square().sum().backward()
        ours = gradients(pack, member)
        assert len(ours) == 9
        for name, parameter in own.named_parameters():
            if name != "shift":
                assert parameter.grad is not None
                torch.testing.assert_close(ours[PREFIX + name].reshape(parameter.shape), parameter.grad)


def test_gradients_add_up_over_the_forwards_of_a_step() -> None:
    net, context, store = build(1)
    pack, both = pack_of(store, 0), pack_of(store, 0)
    for seed in (1, 2):
        run(net, context, pack, 0, inputs(seed)).square().sum().backward()
    run(net, context, both, 0, torch.cat([inputs(1), inputs(2)])).square().sum().backward()
    assert pack.gradients is not None
    torch.testing.assert_close(pack.gradients, both.gradients)


def test_members_are_kept_apart() -> None:
    net, context, store = build()
    pack = pack_of(store, 0, 1)
    run(net, context, pack, 0, inputs(0)).square().sum().backward()
    assert pack.gradients is not None
    assert pack.gradients[0].any()
    assert not pack.gradients[1].any()
    alone = pack_of(store, 1)
    run(net, context, alone, 0, inputs(1)).square().sum().backward()
    store.weights[0] = float("nan")
    beside = pack_of(store, 0, 1)
    for member in range(2):
        run(net, context, beside, member, inputs(member)).square().sum().backward()
    assert beside.gradients is not None
    assert alone.gradients is not None
    assert torch.equal(beside.gradients[1], alone.gradients[0])
    assert beside.gradients[0].isnan().any()


def test_without_a_gradient_weight_decay_pulls_to_the_base() -> None:
    net, _, store = build(1)
    before = store.tensors(0)
    store.gradients.zero_()
    for _ in range(3):
        adamw_step(store, 0, torch.zeros(()), 0.1, 0.5, 0.0, 1.0)
    after = store.tensors(0)
    for name, value in before.items():
        wanted = value if name.endswith(".bias") else value * 0.95**3
        torch.testing.assert_close(after[name], wanted)
    own = dict(plain(net, store, 0).named_parameters())
    far = {name: parameter for name, parameter in net.named_parameters() if name.endswith("weight")}
    assert all((own[name] - far[name]).norm() < 0.9 * before[PREFIX + name].norm() for name in far)


def test_a_base_of_bf16_gets_the_exact_difference() -> None:
    net, context, store = build(1)
    net.to(torch.bfloat16)
    pack = Pack(store, [Member(0, 1.0)], torch.bfloat16, train=True)
    weights = dict(whole_weights(net, PREFIX, context, pack, 0))
    rounded = []
    for name, value in weights.items():
        base, difference = dict(net.named_parameters())[name], store.tensors(0)[PREFIX + name].reshape(value.shape)
        assert value.dtype == torch.bfloat16
        assert torch.equal(value, (base.float() + difference).to(torch.bfloat16))
        rounded.append(torch.equal(value, base + difference.to(torch.bfloat16)))
    assert not all(rounded), "a difference that is rounded before it is added is another"


def test_at_rest_the_average_counts_and_nothing_is_gathered() -> None:
    net, context, store = build(1)
    store.average *= 2
    pack = pack_of(store, 0, train=False)
    found = run(net, context, pack, 0, inputs(0))
    found.sum().backward()
    assert pack.gradients is None
    store.weights.copy_(store.average)
    torch.testing.assert_close(found, plain(net, store, 0)(inputs(0)))


@pytest.mark.parametrize(("exact", "dtype"), [(True, torch.float32), (False, torch.bfloat16)])
def test_a_leaf_holds_the_tensors_of_all_members(exact: bool, dtype: torch.dtype) -> None:
    _, context, store = build()
    pack = Pack(store, [Member(1, 1.0), Member(0, 1.0)], torch.bfloat16, train=True)
    found = leaf(context, pack, "net.conv.weight", exact=exact)
    assert found.shape == (2, 4, 27)
    assert found.dtype == dtype
    assert torch.equal(found[0], store.tensors(1)["net.conv.weight"].to(dtype))
    assert torch.equal(found[1], store.tensors(0)["net.conv.weight"].to(dtype))
