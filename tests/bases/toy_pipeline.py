"""Pipelines of Stable Diffusion for the tests, as folders with their small files alone: weights without a byte."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

FILES: dict[str, dict[str, Any]] = {
    "model_index.json": {
        "_class_name": "StableDiffusionPipeline",
        "scheduler": ["diffusers", "DDIMScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    },
    "unet/config.json": {
        "sample_size": 8,
        "in_channels": 4,
        "out_channels": 4,
        "block_out_channels": [8, 16],
        "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
        "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
    },
    "vae/config.json": {"block_out_channels": [4, 4, 8], "latent_channels": 4},
    "text_encoder/config.json": {"max_position_embeddings": 16},
    "tokenizer/tokenizer_config.json": {"model_max_length": 16},
    "scheduler/scheduler_config.json": {"num_train_timesteps": 1000, "prediction_type": "epsilon"},
}
WEIGHTS = (
    "unet/diffusion_pytorch_model.safetensors",
    "vae/diffusion_pytorch_model.safetensors",
    "text_encoder/model.safetensors",
)


def write_pipeline(folder: Path, changes: dict[str, dict[str, Any]] | None = None) -> Path:
    """A pipeline for pictures of 32 x 32, in steps of 8; `changes` are other lines by file, None takes a line out."""
    for file, content in FILES.items():
        lines = {**content, **(changes or {}).get(file, {})}
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text(json.dumps({name: value for name, value in lines.items() if value is not None}))
    for weights in WEIGHTS:
        (folder / weights).touch()
    return folder
