"""The embedded FashionCLIP: a small open_clip model that this project trained on the garments it draws and what can be
said of them, those in a style included: it is the judge of styles that the picture base does not know.

`pretrain.py` builds it; `model/training.json` records how that went.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from tuner.bases.shipped import shipped

SHA256 = "463634520b47d876b011f494d519b133856316040e4eba551b994f964c487145"
FOLDER = Path(__file__).parent / "model"
WEIGHTS = "open_clip_model.safetensors"


@cache
def locate() -> Path:
    """The model's folder. Raises BaseModelError if the weights are missing or are not the ones this project was
    measured with."""
    return shipped("clip_model", "garment_clip", FOLDER, [WEIGHTS], SHA256)
