"""The embedded picture base: a Stable Diffusion of 6 million parameters that this project trained on garments it draws.

It draws ten garments in thirteen colours, eleven surfaces and nine places, 64 x 64, as its caption says, and knows
nothing of the styles that `garments/styles.py` keeps apart: what an adapter has to teach it. `pretrain.py` builds it;
`model/training.json` records how that went.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from tuner.bases.shipped import shipped

SHA256 = "0bdfac734a11b96844b029760d88a12449bcf8ab610e58987a4d7f544f4860ef"
FOLDER = Path(__file__).parent / "model"
PARTS = (
    "text_encoder/model.safetensors",
    "unet/diffusion_pytorch_model.safetensors",
    "vae/diffusion_pytorch_model.safetensors",
)


@cache
def locate() -> Path:
    """The pipeline's folder. Raises BaseModelError if weights are missing or are not the ones this project was measured
    with."""
    return shipped("base_model", "garment_sd", FOLDER, PARTS, SHA256)
