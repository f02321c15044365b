"""The members' own tensors as leaves of PyTorch's autograd, for layers whose adapters are written in plain tensor code.

`packed.py` writes out its backward pass by hand, since linear layers are where time goes. Convolutions and models that
are trained whole take this way instead: `leaf` gives the tensors of all members, stacked, and when their gradient comes
by, it is added to the pack's. Knows nothing of what is computed with them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from tuner.lora.packed import Pack, PackContext
from tuner.lora.parameters import Site


class _Leaf(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, anchor: torch.Tensor, pack: Pack, name: str, rows: torch.Tensor, members: slice
    ) -> torch.Tensor:
        ctx.pack, ctx.name, ctx.members = pack, name, members
        return pack.store.layout.view(rows[members], name).clone()

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[None, None, None, None, None]:
        if ctx.pack.gradients is not None:
            ctx.pack.store.layout.view(ctx.pack.gradients[ctx.members], ctx.name).add_(grads[0])
        return None, None, None, None, None


def leaf(
    context: PackContext, pack: Pack, name: str, *, exact: bool = False, member: int | None = None
) -> torch.Tensor:
    """The tensor `name` of every member (N, rows, columns), or (1, rows, columns) of one, in the base's dtype or,
    `exact`, in fp32."""
    rows = pack.exact if exact else pack.weights
    members = slice(None) if member is None else slice(member, member + 1)
    found: torch.Tensor = _Leaf.apply(context.anchor, pack, name, rows, members)
    return found


def whole_sites(model: nn.Module, prefix: str) -> list[Site]:
    """One site for each module with weights of its own, all trained in full: what is learnt is a difference to the
    base's weights, zero at first, so that weight decay pulls towards the base and not towards nothing."""
    sites = []
    for name, module in model.named_modules():
        weight, bias = getattr(module, "weight", None), getattr(module, "bias", None)
        if not isinstance(weight, nn.Parameter):
            continue
        inputs = weight[0].numel() if weight.ndim > 1 else 1
        sites.append(Site(prefix + name, inputs, len(weight), full=True, bias=bias is not None, std=0.0))
    return sites


def whole_weights(
    model: nn.Module, prefix: str, context: PackContext, pack: Pack, member: int
) -> Iterator[tuple[str, torch.Tensor]]:
    """The parameters of `model` as this member has them, by their names in it: the base's and the member's difference,
    in the base's dtype. Parameters of no site are left out."""
    for name, parameter in model.named_parameters():
        module, _, part = name.rpartition(".")
        where = f"{prefix}{module}.{part}"
        if where in pack.store.layout.slices:
            difference = leaf(context, pack, where, exact=True, member=member)[0]
            yield name, (parameter.detach().float() + difference.reshape(parameter.shape)).to(parameter.dtype)
