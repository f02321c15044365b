"""The embedded picture base: a Stable Diffusion of 6 million parameters that this project trained on garments it draws.

It draws ten garments in thirteen colours, eleven surfaces and nine places, 64 x 64, as its caption says, and knows
nothing of the styles that `garments/styles.py` keeps apart: what an adapter has to teach it. `pretrain.py` builds it;
`model/training.json` records how that went.
"""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

from tuner.bases.minilm import sha256
from tuner.errors import BaseModelError

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
    missing = [part for part in PARTS if not (FOLDER / part).is_file()]
    if missing:
        raise BaseModelError(
            f"base_model = 'garment_sd': its {', '.join(missing)} are missing. Install the project again, or build "
            "them: python -m tuner.bases.garment_sd.pretrain."
        )
    digest = checksum(FOLDER)
    if digest != SHA256:
        raise BaseModelError(
            f"base_model = 'garment_sd': the weights in {FOLDER} have SHA-256 {digest}, expected {SHA256}: a file is "
            "damaged or was built anew. Install the project again; to use weights of your own, name their folder."
        )
    return FOLDER


def checksum(folder: Path) -> str:
    """One digest of all weights: the SHA-256 of the parts' own, in order."""
    return hashlib.sha256("".join(sha256(folder / part) for part in PARTS).encode()).hexdigest()
