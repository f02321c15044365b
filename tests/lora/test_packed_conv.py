"""Packed convolutions against PEFT's own, alone and in company."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn

from tuner.lora.packed import Member, Pack, PackContext
from tuner.lora.packed_conv import PackedConv, wrap_convolutions
from tuner.lora.parameters import AdapterShape, ParameterStore, initial_tensors

RANKS, SCALES = (3, 5, 2), (0.5, 2.0, 1.0)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(4, 6, 3, padding=1)
        self.b = nn.Conv2d(6, 8, 3, stride=2, padding=1)
        self.c = nn.Conv2d(8, 5, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.c(torch.relu(self.b(torch.relu(self.a(x)))))


def build() -> tuple[Net, PackContext, ParameterStore]:
    torch.manual_seed(0)
    net = Net().requires_grad_(False)
    context = PackContext(torch.device("cpu"))
    sites = wrap_convolutions(net, ["a", "b", "c"], context)
    store = ParameterStore(sites, 3, torch.device("cpu"))
    for slot, rank in enumerate(RANKS):
        shape = AdapterShape(rank, frozenset("abc"), frozenset())
        drawn = initial_tensors(sites, shape, slot)
        generator = torch.Generator().manual_seed(slot)
        far = {name: torch.randn(value.shape, generator=generator) * 0.3 for name, value in drawn.items()}
        store.put(slot, shape, far)
    return net, context, store


def run(
    net: Net, context: PackContext, store: ParameterStore, members: list[Member], parts: list[torch.Tensor]
) -> tuple[list[torch.Tensor], Pack]:
    pack = Pack(store, members, torch.float32, train=True)
    pack.bring([len(part) for part in parts])
    context.pack = pack
    found = net(torch.cat(parts))
    context.pack = None
    found.square().sum().backward()
    return list(found.split([len(part) for part in parts])), pack


@pytest.mark.parametrize("counts", [(2, 2, 2), (1, 3, 2)])
def test_outputs_and_gradients_are_those_of_peft(counts: tuple[int, ...]) -> None:
    net, context, store = build()
    parts = [torch.randn(count, 4, 8, 8, generator=torch.Generator().manual_seed(count)) for count in counts]
    found, pack = run(net, context, store, [Member(s, SCALES[s]) for s in range(3)], parts)
    for slot, part in enumerate(parts):
        torch.manual_seed(0)
        config = LoraConfig(r=RANKS[slot], lora_alpha=SCALES[slot] * RANKS[slot], target_modules=["a", "b", "c"])
        theirs = get_peft_model(Net(), config)
        plain = dict(theirs.named_modules())
        tensors = store.tensors(slot)
        for name in "abc":
            layer = plain[f"base_model.model.{name}"]
            kernel = layer.base_layer.kernel_size
            with torch.no_grad():
                layer.lora_A["default"].weight.copy_(tensors[f"{name}.A"].unflatten(1, (-1, *kernel)))
                layer.lora_B["default"].weight.copy_(tensors[f"{name}.B"][..., None, None])
        wanted = theirs(part)
        torch.testing.assert_close(found[slot], wanted, rtol=1e-5, atol=1e-5)
        wanted.square().sum().backward()
        assert pack.gradients is not None
        ours = store.layout.trimmed(pack.gradients[slot], AdapterShape(RANKS[slot], frozenset("abc"), frozenset()))
        for name in "abc":
            layer = plain[f"base_model.model.{name}"]
            torch.testing.assert_close(ours[f"{name}.A"], layer.lora_A["default"].weight.grad.flatten(1), rtol=1e-4,
                                       atol=1e-4)  # fmt: skip
            torch.testing.assert_close(ours[f"{name}.B"], layer.lora_B["default"].weight.grad[..., 0, 0], rtol=1e-4,
                                       atol=1e-4)  # fmt: skip


def test_dropout_of_a_member_does_not_depend_on_its_company() -> None:
    net, context, store = build()
    part = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(9))
    members = [Member(slot, SCALES[slot], 0.5, seed=slot, step=3) for slot in range(3)]
    together, pack = run(net, context, store, members, [torch.randn(3, 4, 8, 8), part, torch.randn(1, 4, 8, 8)])
    alone, single = run(net, context, store, [members[1]], [part])
    plain, _ = run(net, context, store, [Member(1, SCALES[1])], [part])
    torch.testing.assert_close(together[1], alone[0], rtol=1e-5, atol=1e-5)
    assert pack.gradients is not None
    assert single.gradients is not None
    torch.testing.assert_close(pack.gradients[1], single.gradients[0], rtol=1e-4, atol=1e-4)
    assert not torch.allclose(plain[0], alone[0], atol=1e-3)


def test_a_member_of_nan_leaves_the_others_alone() -> None:
    net, context, store = build()
    parts = [torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(slot)) for slot in range(3)]
    members = [Member(slot, SCALES[slot]) for slot in range(3)]
    sound, _ = run(net, context, store, members, parts)
    store.weights[1] = float("nan")
    found, pack = run(net, context, store, members, parts)
    assert torch.equal(found[0], sound[0])
    assert torch.equal(found[2], sound[2])
    assert found[1].isnan().any()
    assert pack.gradients is not None
    assert pack.gradients[0].isfinite().all()


def test_without_a_pack_or_a_target_it_is_the_base() -> None:
    net, context, store = build()
    x = torch.randn(2, 4, 8, 8)
    torch.manual_seed(0)
    torch.testing.assert_close(net(x), Net()(x))
    for slot in range(3):
        store.free(slot)
    context.pack = Pack(store, [], torch.float32, train=False)
    torch.manual_seed(0)
    torch.testing.assert_close(net(x), Net()(x))
    assert isinstance(net.a, PackedConv)


def test_grouped_and_other_modules_are_refused() -> None:
    model = nn.Sequential(nn.Conv2d(4, 4, 3, groups=2), nn.Linear(2, 2))
    context = PackContext(torch.device("cpu"))
    for name in ("0", "1"):
        with pytest.raises(TypeError, match="only plain convolutions"):
            wrap_convolutions(model, [name], context)
