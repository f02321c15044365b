"""The denoising loss of each row: noise of a random level is added to a latent, and the UNet is to say what it was.

What it predicts, noise or v (Salimans and Ho 2022, arXiv:2202.00512), its scheduler's config says. With `snr_gamma` the
levels are weighted by min-SNR (Hang et al. 2023, arXiv:2303.09556): min(SNR, gamma) / SNR of noise, / (SNR + 1) of v.
`offset_noise` shifts whole channels of the noise, which lets pictures become darker or brighter than on average.

Levels are drawn stratified over a member's rows, so that a small batch meets weak and strong noise alike. All that is
drawn is a function of the member's seed and step, whatever its company.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from tuner.lora.dropout import mix
from tuner.lora.packed import Member

_DRAWS = 3  # sets this stream apart from data order (1) and micro-batches (2)


@dataclass(frozen=True)
class Noised:
    """A batch to learn from: noisy latents and targets (B, C, h, w), times (B,), weights of the losses (B,), on the
    CPU."""

    x: torch.Tensor
    targets: torch.Tensor
    times: torch.Tensor
    weights: torch.Tensor


class Noising:
    """Adds noise as a pipeline's scheduler config says. Raises ValueError for a kind of prediction it does not know."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        from diffusers import DDPMScheduler

        self.kind = str(config.get("prediction_type", "epsilon"))
        if self.kind not in ("epsilon", "v_prediction"):
            raise ValueError(f"prediction_type = {self.kind!r}: only epsilon and v_prediction are trained here")
        self.alphas = DDPMScheduler.from_config(dict(config)).alphas_cumprod.float()  # (T,)

    def train(self, members: Sequence[Member], rows: Sequence[torch.Tensor]) -> Noised:
        """rows[i] (b, C, h, w) are the latents of member i's rows."""
        parts = []
        for member, x in zip(members, rows, strict=True):
            generator = torch.Generator().manual_seed(mix(member.seed, member.step, _DRAWS) & 0xFFFFFFFF)
            times = self._stratified(len(x), torch.rand(len(x), generator=generator))
            noise = torch.randn(x.shape, generator=generator)
            offset = float(member.params.get("offset_noise") or 0.0)
            if offset:
                noise = noise + offset * torch.randn((*x.shape[:2], 1, 1), generator=generator)
            parts.append(self._noised(x, noise, times, member.params.get("snr_gamma")))
        return Noised(
            *(torch.cat([getattr(part, name) for part in parts]) for name in ("x", "targets", "times", "weights"))
        )

    def fixed(self, x: torch.Tensor) -> Noised:
        """The same noise and times for the same rows every time, to compare losses by; no weights."""
        generator = torch.Generator().manual_seed(0)
        times = self._stratified(len(x), torch.full((len(x),), 0.5))
        return self._noised(x, torch.randn(x.shape, generator=generator), times, None)

    def _stratified(self, count: int, within: torch.Tensor) -> torch.Tensor:
        """Times (count,), one in each of `count` equal parts of the range, `within` (0 to 1) of it."""
        steps = len(self.alphas)
        return ((torch.arange(count) + within) * steps / count).long().clamp(max=steps - 1)

    def _noised(self, x: torch.Tensor, noise: torch.Tensor, times: torch.Tensor, gamma: float | None) -> Noised:
        kept = self.alphas[times].view(-1, 1, 1, 1)
        noisy = kept.sqrt() * x + (1 - kept).sqrt() * noise
        targets = noise if self.kind == "epsilon" else kept.sqrt() * noise - (1 - kept).sqrt() * x
        weights = torch.ones(len(x))
        if gamma is not None:
            snr = (kept / (1 - kept)).flatten()
            # where nothing is left of the picture, SNR is 0 and noise counts in full
            weights = (float(gamma) / snr).clamp(max=1) if self.kind == "epsilon" else snr.clamp(max=gamma) / (snr + 1)
        return Noised(noisy, targets, times, weights)
