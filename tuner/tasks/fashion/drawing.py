"""What the members of a pack draw: prompts in, pictures out, everybody in one batch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from tuner.device import pictures_at_once
from tuner.lora.packed import Pack
from tuner.tasks.fashion.denoise import Denoiser
from tuner.tasks.fashion.sampling import make_scheduler, sample, seed_of, starting_noise


class Drawing:
    """Draws with a denoiser, at one resolution and in one number of steps."""

    def __init__(self, denoiser: Denoiser, resolution: int, steps: int) -> None:
        self.denoiser = denoiser
        self.resolution = resolution
        self.steps = steps
        base = denoiser.base
        self.side = base.latent_side(resolution)
        self.latent = (base.latent_channels, self.side, self.side)
        self.scheduler = make_scheduler(base.scheduler)
        self.positions, self.decoded = pictures_at_once(base.device)

    def rows_at_once(self, members: int) -> int:
        """Rows of each member in one forward, with their unguided twins."""
        return max(1, self.positions // (2 * max(members, 1) * self.side**2))

    @property
    def pictures_at_once(self) -> int:
        """Pictures that pass through the autoencoder at once, either way."""
        return max(1, self.decoded * 64 * 64 // self.resolution**2)

    @torch.no_grad()
    def draw(
        self,
        pack: Pack,
        prompts: Sequence[Sequence[str]],
        negative: str | Sequence[str],
        guidance: Sequence[float],
        seeds: Sequence[int] | None = None,
    ) -> list[list[np.ndarray]]:
        """Pictures (H, W, 3), uint8, of each member's prompts, as many for each; a pack without members is the base
        alone, one list. `negative` is one for all or each member's own; `seeds` go with the prompts' places and are by
        default those of the prompts themselves."""
        members, count = len(prompts), len(prompts[0])
        negatives = [negative] * members if isinstance(negative, str) else list(negative)
        drawn: list[list[np.ndarray]] = [[] for _ in range(members)]
        size = self.rows_at_once(members)
        for start in range(0, count, size):
            part = [each[start : start + size] for each in prompts]
            own = seeds[start : start + size] if seeds is not None else None
            latents = self._latents(pack, part, negatives, guidance, own)
            pictures = self._decoded(latents)
            each = len(part[0])
            for member in range(members):
                drawn[member].extend(pictures[member * each : (member + 1) * each])
        return drawn

    def _latents(
        self,
        pack: Pack,
        prompts: Sequence[Sequence[str]],
        negatives: Sequence[str],
        guidance: Sequence[float],
        seeds: Sequence[int] | None,
    ) -> torch.Tensor:
        """Latents of each member's pictures, members in order (N * P, C, h, w)."""
        members, count = len(prompts), len(prompts[0])
        base = self.denoiser.base
        guided = any(value != 1 for value in guidance)
        asked = [
            [*([negative] * count if guided else []), *each] for negative, each in zip(negatives, prompts, strict=True)
        ]
        texts = self.denoiser.texts(pack, asked)
        noise = torch.cat([starting_noise(seeds or [seed_of(p) for p in each], self.latent) for each in prompts])
        scale = torch.tensor(guidance, device=base.device).view(-1, 1, 1, 1, 1)
        counts = [len(each) for each in asked]

        def predict(x: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
            if not guided:
                return self.denoiser(pack, counts, x, time.expand(len(x)), texts)
            # each member's rows stand together, unguided before guided: (N, 2, P, C, h, w)
            twice = x.view(members, 1, count, *self.latent).expand(-1, 2, -1, -1, -1, -1).flatten(0, 2)
            found = self.denoiser(pack, counts, twice, time.expand(len(twice)), texts)
            without, with_prompt = found.view(members, 2, count, *self.latent).unbind(1)
            return (without + scale * (with_prompt - without)).flatten(0, 1)

        return sample(predict, self.scheduler, self.steps, noise.to(base.device))

    def _decoded(self, latents: torch.Tensor) -> list[np.ndarray]:
        parts = [self.denoiser.base.pictures(part).numpy() for part in latents.split(self.pictures_at_once)]
        return list(np.concatenate(parts))
