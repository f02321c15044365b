"""Trains the embedded pipeline's AutoencoderKL: 64 x 64 pictures to 8 x 8 latents of 16 channels and back.

Trained from nothing, encoder and decoder wait for each other and stay blurred. So the encoder is first shown where to
go: the 16 principal components of 8 x 8 patches, whitened, which the decoder learns to read from the first step on.
The pull fades over the first third of the steps, and from then on both only serve the picture. Squared error with a
little of the plain difference of neighbouring pixels, which keeps outlines; no adversary.

Then the encoder stays as it is and the decoder alone learns on (`refine`), from pictures in any light: faded, tinted,
grey. Trained on the general set's colours alone it would draw those whatever the latents say, and no adapter of the
UNet could reach a palette that the decoder does not have. Latents are scaled to a
standard deviation of 1 by the `scaling_factor` in its config (Rombach et al. 2022, arXiv:2112.10752).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from tuner.bases.pipeline import as_tensor
from tuner.bases.recipe import cosine, follow

PATCH, CHANNELS = 8, 16
BATCH, RATE = 16, 2e-3
GUIDED = 1 / 3  # of the steps
KL = 1e-6
EDGES = 0.5


def build() -> Any:
    """The model, untrained."""
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(16, 32, 64, 96),
        layers_per_block=1,
        latent_channels=CHANNELS,
        norm_num_groups=8,
        sample_size=64,
    )


class Components:
    """Whitened principal components of picture patches: (B, 3, H, W) -> (B, CHANNELS, H / 8, W / 8)."""

    def __init__(self, pictures: torch.Tensor) -> None:
        patches = _patches(pictures).flatten(0, 1)  # (B * P, 192)
        self.mean = patches.mean(0)
        centred = patches - self.mean
        values, vectors = torch.linalg.eigh(centred.T @ centred / len(centred))
        self.basis = vectors[:, -CHANNELS:].flip(1) / values[-CHANNELS:].flip(0).sqrt()  # (192, CHANNELS)

    def of(self, pictures: torch.Tensor) -> torch.Tensor:
        """What an encoder is to find."""
        side = pictures.shape[-1] // PATCH
        found = (_patches(pictures) - self.mean) @ self.basis  # (B, P, CHANNELS)
        grid: torch.Tensor = found.transpose(1, 2).unflatten(2, (side, side))
        return grid


def _patches(pictures: torch.Tensor) -> torch.Tensor:
    found: torch.Tensor = F.unfold(pictures, PATCH, stride=PATCH).transpose(1, 2)
    return found


def train(
    pictures: np.ndarray,
    held_out: np.ndarray,
    steps: int,
    seed: int,
    device: torch.device,
    tell: Callable[[dict[str, float]], None],
    *,
    in_bf16: bool,
) -> Any:
    """The trained model (fp32, on the CPU), its `scaling_factor` measured. `tell` hears of the way: step, loss, and the
    PSNR of held-out pictures in dB."""
    torch.manual_seed(seed)
    model = build().to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, betas=(0.9, 0.99), weight_decay=0.01)
    average = {name: value.detach().clone() for name, value in model.state_dict().items()}
    components = Components(as_tensor(pictures[:2000]))
    draw = np.random.default_rng(seed)
    started, running = time.monotonic(), 0.0
    for step in range(steps):
        share = step / steps
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(1.0, step / 100) * cosine(share, 0.02)
        x = as_tensor(pictures[draw.integers(len(pictures), size=BATCH)])
        guide = components.of(x).to(device)
        x = x.to(device)
        pull = max(0.0, 1 - share / GUIDED)
        with torch.autocast(device.type, torch.bfloat16, enabled=in_bf16):
            found = model.encode(x).latent_dist
            mean, logvar = found.mean.float(), found.logvar.float()
            z = pull * guide + (1 - pull) * mean
            z = z + 0.03 * torch.randn_like(z)  # the sampler's latents are never quite a picture's own
            y = model.decode(z).sample.float()
        loss = picture_loss(y, x)
        (loss + pull * F.mse_loss(mean, guide) + KL * kl(mean, logvar)).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        follow(average, model.state_dict().items(), min(0.999, 1 - 10 / (step + 11)))
        running += loss.item()
        if step % 100 == 99 or step == steps - 1:
            tell({"step": step + 1, "loss": running / (step % 100 + 1), "seconds": time.monotonic() - started})
            running = 0.0
    model.load_state_dict(average)
    model = model.cpu().eval()
    y, z = rebuilt(model, as_tensor(held_out))
    model.register_to_config(scaling_factor=round(1 / z.std().item(), 4))
    tell({"step": steps, "psnr": psnr(y, as_tensor(held_out)), "scaling_factor": model.config.scaling_factor})
    return model


def refine(
    model: Any,
    pictures: np.ndarray,
    held_out: np.ndarray,
    steps: int,
    seed: int,
    device: torch.device,
    tell: Callable[[dict[str, float]], None],
    *,
    in_bf16: bool,
) -> Any:
    """The model with its decoder trained on, in any light; latents mean what they meant."""
    torch.manual_seed(seed)
    model = model.to(device).train()
    parameters = [*model.decoder.parameters(), *model.post_quant_conv.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=RATE / 2, betas=(0.9, 0.99), weight_decay=0.01)
    average = {name: value.detach().clone() for name, value in model.state_dict().items()}
    draw = np.random.default_rng(seed)
    started, running = time.monotonic(), 0.0
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = RATE / 2 * min(1.0, (step + 1) / 50) * cosine(step / steps, 0.02)
        x = lit(as_tensor(pictures[draw.integers(len(pictures), size=BATCH)]), draw).to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=in_bf16):
            with torch.no_grad():
                z = model.encode(x).latent_dist.mean
            y = model.decode(z + 0.05 * torch.randn_like(z)).sample.float()
        loss = picture_loss(y, x) + 0.1 * F.l1_loss(y, x)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        follow(average, model.state_dict().items(), min(0.998, 1 - 10 / (step + 11)))
        running += loss.item()
        if step % 100 == 99 or step == steps - 1:
            tell({"step": step + 1, "loss": running / (step % 100 + 1), "seconds": time.monotonic() - started})
            running = 0.0
    model.load_state_dict(average)
    model = model.cpu().eval()
    x = as_tensor(held_out)
    tell({"step": steps, "psnr": psnr(rebuilt(model, x)[0], x)})
    return model


def lit(x: torch.Tensor, draw: np.random.Generator) -> torch.Tensor:
    """Pictures (B, 3, H, W) in [-1, 1], each as it is or in another light: greyer, tinted, paler or darker."""
    count = len(x)

    def drawn(low: float, high: float, channels: int = 1) -> torch.Tensor:
        return torch.from_numpy(draw.uniform(low, high, (count, channels, 1, 1))).float()

    grey = x.mean(1, keepdim=True)
    found = torch.lerp(x, grey.expand_as(x), drawn(0, 1) ** 2)
    found = (found + 1) / 2 * drawn(0.6, 1.0, 3)  # a tinted light takes some of each colour
    found = torch.lerp(found, torch.ones_like(found), drawn(0, 0.7) ** 1.5)  # paler
    found = found.clamp(1e-4, 1) ** drawn(0.7, 1.4)
    changed = torch.from_numpy(draw.random((count, 1, 1, 1)) < 0.6)
    return torch.where(changed, found * 2 - 1, x)


@torch.no_grad()
def rebuilt(model: Any, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Pictures (B, 3, H, W) as the model gives them back, and their latents."""
    z = torch.cat([model.encode(part).latent_dist.mean for part in x.split(50)])
    return torch.cat([model.decode(part).sample.clamp(-1, 1) for part in z.split(50)]), z


def picture_loss(y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Mean squared error, and that of the differences between neighbours."""
    across = F.mse_loss(y[..., 1:] - y[..., :-1], x[..., 1:] - x[..., :-1])
    down = F.mse_loss(y[..., 1:, :] - y[..., :-1, :], x[..., 1:, :] - x[..., :-1, :])
    return F.mse_loss(y, x) + EDGES * (across + down)


def kl(mean: torch.Tensor, logvar: torch.Tensor) -> torch.Tensor:
    """Divergence from the standard normal, a picture's mean."""
    return 0.5 * (mean.square() + logvar.exp() - 1 - logvar).sum((1, 2, 3)).mean()


def psnr(y: torch.Tensor, x: torch.Tensor) -> float:
    """Peak signal to noise of pictures in [-1, 1], dB, over all of them."""
    return 10 * math.log10(4 / F.mse_loss(y, x).item())
