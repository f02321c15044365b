"""Many adapters through one frozen convolution, as `packed.py` does for linear layers.

PEFT's LoRA of a convolution is a convolution of the same kernel into `rank` channels and one of 1 x 1 out of them. The
frozen convolution sees the pictures of all members at once, the small ones each member's own, one after another: to
unfold the patches for two batched products took five to sixteen times as long on a CPU (measured on 3 x 3 kernels of
the embedded base). Gradients are autograd's.

Convolutions of several groups carry no LoRA. Knows nothing of models.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from tuner.lora.dropout import keep_masks, mix, site_key
from tuner.lora.leaves import leaf
from tuner.lora.packed import Pack, PackContext
from tuner.lora.parameters import Site


class PackedConv(nn.Module):
    """A frozen `nn.Conv2d` with the LoRA of every member of the current pack beside it."""

    def __init__(self, base: nn.Conv2d, site: Site, context: PackContext) -> None:
        super().__init__()
        self.base = base
        self.site = site
        self._context = context

    def forward(self, x: torch.Tensor, *more: Any) -> torch.Tensor:
        """(B, in, H, W) -> (B, out, H', W'). (Old layers of diffusers pass a scale beside; it has no effect.)"""
        y: torch.Tensor = self.base(x)
        pack = self._context.pack
        if pack is None or not pack.members or f"{self.site.name}.A" not in pack.store.layout.slices:
            return y
        a = leaf(self._context, pack, f"{self.site.name}.A")  # (N, R, in * k * k)
        b = leaf(self._context, pack, f"{self.site.name}.B")  # (N, R, out)
        conv = self.base
        found = []
        for member, part in enumerate(self._dropped(x, pack).split(pack.rows.counts)):
            down = a[member].unflatten(1, (conv.in_channels, *conv.kernel_size))  # (R, in, k, k)
            u = F.conv2d(part, down, None, conv.stride, conv.padding, conv.dilation)
            found.append(F.conv2d(u * pack.scales[member], b[member].T[..., None, None]))  # (b, out, H', W')
        return y + torch.cat(found)

    def _dropped(self, x: torch.Tensor, pack: Pack) -> torch.Tensor:
        if not pack.drops:
            return x
        keys = torch.tensor(
            [mix(m.seed, m.step, site_key(self.site.name)) for m in pack.members], dtype=torch.int32, device=x.device
        )
        pixels = x.shape[2] * x.shape[3]
        counts = pack.rows.counts
        masks = keep_masks(keys, pack.rates, pack.rows.longest * pixels, x.shape[1], x.dtype)  # (N, M, in)
        flat = torch.cat([part[: count * pixels] for part, count in zip(masks, counts, strict=True)])
        return x * flat.view(len(x), x.shape[2], x.shape[3], x.shape[1]).permute(0, 3, 1, 2)


def wrap_convolutions(model: nn.Module, names: Sequence[str], context: PackContext, prefix: str = "") -> list[Site]:
    """Put packed layers in place of the named convolutions and return their sites, named with `prefix`. Raises
    TypeError for a module that is none, or has groups."""
    sites = []
    for name in names:
        base = model.get_submodule(name)
        if not isinstance(base, nn.Conv2d) or base.groups != 1 or isinstance(base.padding, str):
            raise TypeError(f"{name} is a {type(base).__name__}: only plain convolutions carry LoRA here")
        inputs = base.in_channels * base.kernel_size[0] * base.kernel_size[1]
        site = Site(prefix + name, inputs, base.out_channels)
        parent, _, last = name.rpartition(".")
        setattr(model.get_submodule(parent), last, PackedConv(base, site, context))
        sites.append(site)
    return sites
