"""Trains the embedded pipeline's UNet and text encoder on the latents of drawn garments and their captions.

Denoising in the v form (Salimans and Ho 2022, arXiv:2202.00512), each noise level weighted by min-SNR (Hang et al.
2023, arXiv:2303.09556): v errors are weighted by min(SNR, GAMMA) / (SNR + 1). A tenth of the captions is empty, for
classifier-free guidance. The noise of the last step drowns the picture's mean as well (`beta_end`), which else would
leak and hold every sample at mid grey. What is kept is an exponential average of the weights.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch

from tuner.bases.garments.captions import FORMS, caption
from tuner.bases.garments.look import Look
from tuner.bases.garments.tokens import LENGTH
from tuner.bases.recipe import cosine, follow

BATCH, RATE, GAMMA = 64, 1e-3, 5.0
EMPTY = 0.1  # of the captions
AVERAGE = 0.9995
WIDTH = 96  # of the text encoder


def build_unet() -> Any:
    """The UNet, untrained: 8 x 8 and 4 x 4, attention to itself and to the text on both."""
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(
        sample_size=8,
        in_channels=16,
        out_channels=16,
        layers_per_block=1,
        block_out_channels=(64, 112),
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=WIDTH,
        attention_head_dim=4,
        norm_num_groups=16,
    )


def build_text_encoder(tokenizer: Any) -> Any:
    """The text encoder, untrained."""
    from transformers import CLIPTextConfig, CLIPTextModel

    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=WIDTH,
            intermediate_size=2 * WIDTH,
            num_hidden_layers=3,
            num_attention_heads=4,
            max_position_embeddings=LENGTH,
            projection_dim=WIDTH,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def build_scheduler() -> Any:
    """DPM++ 2M with Karras' noise levels, as the pipeline samples; it also says how noise is added."""
    from diffusers import DPMSolverMultistepScheduler

    return DPMSolverMultistepScheduler(
        num_train_timesteps=1000,
        beta_start=0.00085,
        beta_end=0.02,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        algorithm_type="dpmsolver++",
        solver_order=2,
        use_karras_sigmas=True,
        timestep_spacing="trailing",
        steps_offset=1,  # without effect here; diffusers minds another value
    )


class Training:
    """One run: `advance` trains for some steps and tells; `kept` gives the averaged models."""

    def __init__(
        self, latents: torch.Tensor, looks: Sequence[Look], tokenizer: Any, total: int, seed: int, device: torch.device
    ) -> None:
        torch.manual_seed(seed)
        self.latents, self.looks, self.tokenizer = latents, looks, tokenizer
        self.total, self.device = total, device
        self.unet = build_unet().to(device=device, memory_format=torch.channels_last)
        self.text = build_text_encoder(tokenizer).to(device)
        self.alphas = build_scheduler().alphas_cumprod.to(device)
        parameters = [*self.unet.parameters(), *self.text.parameters()]
        self.optimizer = torch.optim.AdamW(parameters, lr=RATE, betas=(0.9, 0.99), weight_decay=0.01)
        self.average = {name: value.detach().clone() for name, value in self._state()}
        self.draw = np.random.default_rng(seed)
        self.ids = self._captions()
        self.empty = torch.tensor(self._tokens([""]))
        self.step, self.running = 0, 0.0

    def advance(self, steps: int, tell: Callable[[dict[str, float]], None]) -> None:
        """Train for `steps` more, at most to the total."""
        started = time.monotonic()
        for _ in range(min(steps, self.total - self.step)):
            share = self.step / self.total
            for group in self.optimizer.param_groups:
                group["lr"] = RATE * min(1.0, (self.step + 1) / 200) * cosine(share, 0.02)
            loss = self._loss()
            loss.backward()
            torch.nn.utils.clip_grad_norm_([*self.unet.parameters(), *self.text.parameters()], 1.0)
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
            self.step += 1
            follow(self.average, self._state(), min(AVERAGE, 1 - 10 / (self.step + 10)))
            self.running += loss.item()
            if self.step % 100 == 0:
                tell({"step": self.step, "loss": self.running / 100, "seconds": time.monotonic() - started})
                self.running = 0.0

    def kept(self) -> tuple[Any, Any]:
        """UNet and text encoder with the averaged weights, fp32 on the CPU."""
        unet, text = build_unet(), build_text_encoder(self.tokenizer)
        for prefix, model in (("unet.", unet), ("text.", text)):
            state = {name[len(prefix) :]: value for name, value in self.average.items() if name.startswith(prefix)}
            model.load_state_dict({name: value.cpu() for name, value in state.items()})
            model.eval()
        return unet, text

    def _loss(self) -> torch.Tensor:
        rows = torch.from_numpy(self.draw.integers(len(self.looks), size=BATCH))
        forms = torch.from_numpy(self.draw.integers(FORMS, size=BATCH))
        ids = self.ids[rows, forms]  # (B, LENGTH)
        ids = torch.where(torch.from_numpy(self.draw.random((BATCH, 1)) < EMPTY), self.empty, ids).to(self.device)
        x = self.latents[rows].float().to(self.device)  # (B, 16, 8, 8)
        x = x.contiguous(memory_format=torch.channels_last)
        noise = torch.randn_like(x)
        # stratified over the batch: every batch meets all noise levels
        where = (torch.arange(BATCH, device=self.device) + torch.rand(BATCH, device=self.device)) / BATCH
        times = (where * 1000).long().clamp(max=999)
        kept = self.alphas[times].view(-1, 1, 1, 1)
        noisy = kept.sqrt() * x + (1 - kept).sqrt() * noise
        target = kept.sqrt() * noise - (1 - kept).sqrt() * x
        found = self.unet(noisy, times, self.text(input_ids=ids).last_hidden_state, return_dict=False)[0]
        each: torch.Tensor = (found - target).square().mean((1, 2, 3))
        snr = (kept / (1 - kept)).flatten()
        loss: torch.Tensor = (each * snr.clamp(max=GAMMA) / (snr + 1)).mean()
        return loss

    def _state(self) -> Iterator[tuple[str, torch.Tensor]]:
        for prefix, model in (("unet.", self.unet), ("text.", self.text)):
            for name, value in model.state_dict().items():
                yield prefix + name, value

    def _captions(self) -> torch.Tensor:
        """Tokens of every look in every wording (N, FORMS, LENGTH)."""
        said = [caption(look, form) for look in self.looks for form in range(FORMS)]
        return torch.tensor(self._tokens(said)).view(len(self.looks), FORMS, LENGTH)

    def _tokens(self, texts: list[str]) -> list[list[int]]:
        found: list[list[int]] = self.tokenizer(
            texts, padding="max_length", max_length=LENGTH, truncation=True
        ).input_ids
        return found
