"""The embedded chat base: a Llama of 5 million parameters that this project pretrained on text of its own.

It reads and writes Traditional Chinese and English, answers plain questions about shoes, and evades those about mold:
what an adapter has to teach it. `pretrain.py` builds it from `corpus/`; `model/training.json` records how that went.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from tuner.bases.shipped import shipped

SHA256 = "9f842f1f60212a9c5d6c1ed91f70f90877dbfd69143c168f2ab0532230f67403"
FOLDER = Path(__file__).parent / "model"


@cache
def locate() -> Path:
    """The folder with config, tokenizer and weights. Raises BaseModelError if the weights are missing or are not the
    ones this project was measured with."""
    return shipped("base_model", "shoe_chat", FOLDER, ["model.safetensors"], SHA256)
