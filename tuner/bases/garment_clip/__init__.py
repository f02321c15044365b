"""The embedded FashionCLIP: a small open_clip model that this project trained on the garments it draws and what can be
said of them, those in a style included: it is the judge of styles that the picture base does not know.

`pretrain.py` builds it; `model/training.json` records how that went.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from tuner.bases.minilm import sha256
from tuner.errors import BaseModelError

SHA256 = "463634520b47d876b011f494d519b133856316040e4eba551b994f964c487145"
FOLDER = Path(__file__).parent / "model"
WEIGHTS = "open_clip_model.safetensors"


@cache
def locate() -> Path:
    """The model's folder. Raises BaseModelError if the weights are missing or are not the ones this project was
    measured with."""
    weights = FOLDER / WEIGHTS
    if not weights.is_file():
        raise BaseModelError(
            "clip_model = 'garment_clip': its weights are missing. Install the project again, or build them: "
            "python -m tuner.bases.garment_clip.pretrain."
        )
    digest = sha256(weights)
    if digest != SHA256:
        raise BaseModelError(
            f"clip_model = 'garment_clip': {weights} has SHA-256 {digest}, expected {SHA256}: the file is damaged or "
            "was built anew. Install the project again; to use weights of your own, name their folder."
        )
    return FOLDER
