"""The frozen picture models with every member's adapter beside them: what a pack makes of noisy latents.

Three ways, by what is trained: LoRA of the UNet (and its convolutions), LoRA of the text encoder too, or all of the
UNet. LoRA members share every forward; members that train all have weights of their own and take turns. Texts are
encoded once and kept while nobody in the pack adapts the text encoder.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence

import torch
from torch.func import functional_call

from tuner.bases.diffusion import TEXT
from tuner.bases.pipeline import PictureBase
from tuner.lora.layouts import matching
from tuner.lora.leaves import whole_sites, whole_weights
from tuner.lora.packed import Pack, PackContext, wrap_linears
from tuner.lora.packed_conv import wrap_convolutions
from tuner.lora.parameters import AdapterShape, Site

UNET, TEXT_ENCODER = "unet.", "text_encoder."
_KEPT = 4096  # encoded texts: half a gigabyte of Stable Diffusion 1.5's


class Denoiser:
    """One base, wrapped. Not thread-safe: the pack of the forward that runs is in `context`."""

    def __init__(self, base: PictureBase, *, whole: bool) -> None:
        self.base = base
        self.whole = whole
        self.context = PackContext(base.device)
        self._kept: dict[str, torch.Tensor] = {}
        self._whole: tuple[weakref.ref[Pack], dict[int, dict[str, torch.Tensor]]] | None = None
        unet, text = base.unet.requires_grad_(False), base.text_encoder.requires_grad_(False)
        if whole:
            self.sites: list[Site] = whole_sites(unet, UNET)
            return
        linear, convolutions = [], []
        for name, module in unet.named_modules():
            if isinstance(module, torch.nn.Linear):
                linear.append(name)
            elif isinstance(module, torch.nn.Conv2d):
                convolutions.append(name)
        words = [name for name, module in text.named_modules() if isinstance(module, torch.nn.Linear)]
        self.kernels = {name: unet.get_submodule(name).kernel_size for name in convolutions}
        self.sites = [
            *wrap_linears(unet, linear, [], self.context, prefix=UNET),
            *wrap_convolutions(unet, convolutions, self.context, UNET),
            *wrap_linears(text, matching(words, TEXT), [], self.context, prefix=TEXT_ENCODER),
        ]

    def forget_texts(self) -> None:
        """Encode every text anew, as for a fair clock."""
        self._kept.clear()

    def shape(self, rank: int, targets: Sequence[str]) -> AdapterShape:
        """What an adapter with these target modules trains."""
        names = [site.name for site in self.sites]
        if self.whole:
            return AdapterShape(rank, frozenset(), frozenset(names))
        return AdapterShape(rank, frozenset(matching(names, targets)), frozenset())

    def texts(self, pack: Pack, prompts: Sequence[Sequence[str]]) -> torch.Tensor:
        """What the text encoder makes of each member's prompts, members in order: (B, L, D). Every member must have
        at least one."""
        flat = [prompt for member in prompts for prompt in member]
        if not any(name.startswith(TEXT_ENCODER) for name in pack.store.layout.slices) or not pack.members:
            new = [prompt for prompt in dict.fromkeys(flat) if prompt not in self._kept]
            if len(self._kept) + len(new) > _KEPT:
                self.forget_texts()
                new = list(dict.fromkeys(flat))
            if new:
                with torch.no_grad():
                    self._kept.update(zip(new, self.base.encode(self.base.tokens(new)), strict=True))
            return torch.stack([self._kept[prompt] for prompt in flat])
        pack.bring([len(member) for member in prompts])
        return self._within(pack, lambda: self.base.encode(self.base.tokens(flat)))

    def __call__(
        self, pack: Pack, counts: Sequence[int], x: torch.Tensor, times: torch.Tensor, texts: torch.Tensor
    ) -> torch.Tensor:
        """The UNet's prediction for x (B, C, h, w) at times (B,) and texts (B, L, D), counts[i] rows of member i in
        order, in fp32. A pack without members is the base alone."""
        x = x.to(self.base.dtype, memory_format=torch.channels_last)
        if not pack.members:
            return self._forward({}, x, times, texts)
        if not self.whole:
            pack.bring(counts)
            return self._within(pack, lambda: self._forward({}, x, times, texts))
        found = []
        parts = zip(x.split(list(counts)), times.split(list(counts)), texts.split(list(counts)), strict=True)
        for member, part in enumerate(parts):
            found.append(self._forward(self._weights(pack, member), *part))
        return torch.cat(found)

    def _forward(self, weights: dict[str, torch.Tensor], *inputs: torch.Tensor) -> torch.Tensor:
        named = dict(zip(("sample", "timestep", "encoder_hidden_states"), inputs, strict=True))
        found: torch.Tensor = functional_call(self.base.unet, weights, (), {**named, "return_dict": False})[0]
        return found.float()

    def _weights(self, pack: Pack, member: int) -> dict[str, torch.Tensor]:
        """A member's UNet; where nobody learns it is made once for a pack, whose members draw in many steps."""
        if torch.is_grad_enabled():
            return dict(whole_weights(self.base.unet, UNET, self.context, pack, member))
        if self._whole is None or self._whole[0]() is not pack:
            self._whole = (weakref.ref(pack), {})
        made = self._whole[1]
        if member not in made:
            made[member] = dict(whole_weights(self.base.unet, UNET, self.context, pack, member))
        return made[member]

    def _within(self, pack: Pack, work: Callable[[], torch.Tensor]) -> torch.Tensor:
        self.context.pack = pack
        try:
            return work()
        finally:
            self.context.pack = None
