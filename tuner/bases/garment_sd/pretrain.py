"""Train the embedded pipeline: `python -m tuner.bases.garment_sd.pretrain`, some GPU minutes or two hours of two cores.

Draws the pictures, trains the autoencoder and then UNet and text encoder on its latents, and writes a folder that
`StableDiffusionPipeline.from_pretrained` opens: weights in fp16, tokenizer, scheduler, training.json with the losses on
the way. How many held-out captions are drawn as they say, `quality.py` measures. A seed gives the same batches.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tuner.bases.garment_sd import FOLDER, autoencoder
from tuner.bases.garment_sd.training import Training, build_scheduler
from tuner.bases.garments import tokens
from tuner.bases.garments.pictures import drawn
from tuner.bases.garments.sample import general
from tuner.bases.pipeline import as_tensor, assembled, write_pipeline
from tuner.device import select_devices

PICTURES, HELD_OUT = 20_000, 200
AUTOENCODER_STEPS, REFINING_STEPS, STEPS = 3_000, 2_500, 7_000


def main() -> None:
    """Train and write the pipeline's folder."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, default=FOLDER)
    parser.add_argument("--autoencoder-steps", type=int, default=AUTOENCODER_STEPS)
    parser.add_argument("--refining-steps", type=int, default=REFINING_STEPS)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--pictures", type=int, default=PICTURES)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    device = select_devices(options.device)[0]
    looks = general(options.seed, options.pictures)
    pictures, held_out = drawn(looks), drawn(general(options.seed + 1, HELD_OUT))
    told: list[dict[str, float]] = []
    vae = autoencoder.train(
        pictures, held_out, options.autoencoder_steps, options.seed, device.torch, told.append, in_bf16=True
    )
    vae = autoencoder.refine(
        vae, pictures, held_out, options.refining_steps, options.seed, device.torch, told.append, in_bf16=True
    )
    tokenizer = tokens.train()
    training = Training(latents_of(vae, pictures), looks, tokenizer, options.steps, options.seed, device.torch)
    losses: list[dict[str, float]] = []
    training.advance(options.steps, losses.append)
    unet, text = training.kept()
    record = {"seed": options.seed, "pictures": len(looks), "autoencoder": told, "denoising": losses}
    write(options.out, unet, text, vae, tokenizer, record)


@torch.no_grad()
def latents_of(vae: Any, pictures: np.ndarray) -> torch.Tensor:
    """Scaled latents (N, C, h, w) in fp16: the means of their distributions."""
    parts = []
    for start in range(0, len(pictures), 64):
        x = as_tensor(pictures[start : start + 64])
        parts.append((vae.encode(x).latent_dist.mean * vae.config.scaling_factor).half())
    return torch.cat(parts)


def write(folder: Path, unet: Any, text: Any, vae: Any, tokenizer: Any, record: Mapping[str, Any]) -> None:
    """The folder that diffusers opens."""
    write_pipeline(assembled(unet, text, vae, tokenizer, build_scheduler()), folder)
    (folder / "training.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
