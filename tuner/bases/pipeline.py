"""A Stable Diffusion pipeline's models on a device: UNet, text encoder, autoencoder, tokenizer.

Opens the parts of a pipeline's folder or hub repository one by one, safetensors only, and no safety checker: nothing
that is drawn here leaves the machine unasked. Knows nothing of adapters.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError

from tuner.bases.diffusion import DiffusionFacts
from tuner.bases.load import quiet
from tuner.errors import BaseModelError


@dataclass
class PictureBase:
    """The models in eval mode. `scheduler` is the config of the pipeline's scheduler; UNet and text encoder compute in
    `dtype`, the autoencoder in fp32."""

    facts: DiffusionFacts
    unet: Any
    text_encoder: Any
    vae: Any
    tokenizer: Any
    scheduler: Mapping[str, Any]
    device: torch.device
    dtype: torch.dtype

    @classmethod
    def open(cls, facts: DiffusionFacts, device: torch.device, dtype: torch.dtype) -> PictureBase:
        """Load everything. Raises BaseModelError, which names the part."""
        from diffusers import AutoencoderKL, UNet2DConditionModel
        from transformers import CLIPTextModel, CLIPTokenizer

        unet = _open(UNet2DConditionModel, facts, "unet", torch_dtype=dtype, use_safetensors=True)
        vae = _open(AutoencoderKL, facts, "vae", torch_dtype=torch.float32, use_safetensors=True)
        text = _open(CLIPTextModel, facts, "text_encoder", dtype=dtype, use_safetensors=True)
        tokenizer = _open(CLIPTokenizer, facts, "tokenizer")
        tokenizer.model_max_length = facts.text_length  # its own may be missing, or more than the encoder has places
        unet = unet.to(device=device, memory_format=torch.channels_last)
        return cls(
            facts,
            unet.eval(),
            text.to(device).eval(),
            vae.to(device).eval().requires_grad_(False),
            tokenizer,
            facts.scheduler,
            device,
            dtype,
        )

    @property
    def latent_channels(self) -> int:
        """Channels of a latent."""
        return int(self.unet.config.in_channels)

    def latent_side(self, resolution: int) -> int:
        """Height and width of the latent of a square picture."""
        return resolution // self.facts.scale

    def tokens(self, prompts: Sequence[str]) -> torch.Tensor:
        """Token ids (B, L), cut off and filled up to the text encoder's length."""
        found: torch.Tensor = self.tokenizer(
            list(prompts),
            padding="max_length",
            max_length=self.tokenizer.model_max_length,
            truncation=True,
            return_tensors="pt",
        ).input_ids
        return found.to(self.device)

    def encode(self, ids: torch.Tensor) -> torch.Tensor:
        """What the UNet reads of token ids (B, L): (B, L, D)."""
        found: torch.Tensor = self.text_encoder(input_ids=ids).last_hidden_state
        return found

    @torch.no_grad()
    def latents(self, pictures: torch.Tensor) -> torch.Tensor:
        """Pictures (B, 3, H, W) in [-1, 1] -> scaled latents (B, C, h, w), fp32: the means of their distributions."""
        found: torch.Tensor = self.vae.encode(pictures.to(self.device)).latent_dist.mean
        return found * float(self.vae.config.scaling_factor)

    @torch.no_grad()
    def pictures(self, latents: torch.Tensor) -> torch.Tensor:
        """Scaled latents (B, C, h, w) -> pictures (B, H, W, 3), uint8 on the CPU."""
        found: torch.Tensor = self.vae.decode(latents.float() / float(self.vae.config.scaling_factor)).sample
        shown = (found / 2 + 0.5).clamp(0, 1) * 255
        return shown.round().to(torch.uint8).permute(0, 2, 3, 1).cpu()


def as_tensor(pictures: np.ndarray) -> torch.Tensor:
    """uint8 (B, H, W, 3) -> what an autoencoder reads, fp32 (B, 3, H, W) in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1


def assembled(unet: Any, text_encoder: Any, vae: Any, tokenizer: Any, scheduler: Any) -> Any:
    """A `StableDiffusionPipeline` of these parts, with no safety checker and no progress bar."""
    from diffusers import StableDiffusionPipeline

    with quiet():
        pipe = StableDiffusionPipeline(
            unet=unet,
            text_encoder=text_encoder,
            vae=vae,
            tokenizer=tokenizer,
            scheduler=scheduler,
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def write_pipeline(pipe: Any, folder: Path) -> None:
    """Save a pipeline, in fp16, so that plain `from_pretrained` opens all of it in fp32: diffusers does so by itself,
    transformers reads the text encoder in the dtype that its config names, and mixed they do not draw."""
    with quiet():
        pipe.to(dtype=torch.float16).save_pretrained(str(folder), safe_serialization=True)
    for path in folder.rglob("*.safetensors"):
        path.chmod(0o644)
    for path in folder.rglob("*.json"):
        content = json.loads(path.read_text(encoding="utf-8"))
        changed = content.pop("_name_or_path", None) is not None  # where a part was read from is nobody's business
        if path.parent.name == "text_encoder" and path.name == "config.json":
            content["dtype"], changed = "float32", True
        if changed:
            path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _open(kind: Any, facts: DiffusionFacts, part: str, **options: Any) -> Any:
    try:
        with quiet():
            return kind.from_pretrained(facts.source, subfolder=part, revision=facts.revision, **options)
    except (OSError, ValueError, RuntimeError, LookupError, TypeError, SafetensorError) as error:
        reason = str(error).strip().split("\n")[0]
        raise BaseModelError(f"base_model = {facts.name!r}: its {part} cannot be opened: {reason}") from error
