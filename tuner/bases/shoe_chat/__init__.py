"""The embedded chat base: a Llama of 5 million parameters that this project pretrained on text of its own.

It reads and writes Traditional Chinese and English, answers plain questions about shoes, and evades those about mold:
what an adapter has to teach it. `pretrain.py` builds it from `corpus/`; `model/training.json` records how that went.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from tuner.bases.minilm import sha256
from tuner.errors import BaseModelError

SHA256 = "9f842f1f60212a9c5d6c1ed91f70f90877dbfd69143c168f2ab0532230f67403"
FOLDER = Path(__file__).parent / "model"


@cache
def locate() -> Path:
    """The folder with config, tokenizer and weights. Raises BaseModelError if the weights are missing or are not the
    ones this project was measured with."""
    weights = FOLDER / "model.safetensors"
    if not weights.is_file():
        raise BaseModelError(
            "base_model = 'shoe_chat': its weights are missing. Install the project again, or build them: "
            "python -m tuner.bases.shoe_chat.pretrain."
        )
    digest = sha256(weights)
    if digest != SHA256:
        raise BaseModelError(
            f"base_model = 'shoe_chat': {weights} has SHA-256 {digest}, expected {SHA256}: the file is damaged or was "
            "built anew. Install the project again; to use weights of your own, name their folder."
        )
    return FOLDER
