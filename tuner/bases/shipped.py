"""Weights that are shipped with this project: there, whole, and the ones it was measured with."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from tuner.bases.minilm import sha256
from tuner.errors import BaseModelError


def shipped(field: str, name: str, folder: Path, parts: Sequence[str], expected: str) -> Path:
    """`folder`, once it holds its parts and their `checksum` is the expected one. `field` is where a config names the
    model, `name` what it is called there and the package that builds it. Raises BaseModelError."""
    alone = len(parts) == 1
    missing = [part for part in parts if not (folder / part).is_file()]
    if missing:
        what = "weights" if alone else ", ".join(missing)
        raise BaseModelError(
            f"{field} = {name!r}: its {what} are missing. Install the project again, or build them: "
            f"python -m tuner.bases.{name}.pretrain."
        )
    digest = checksum(folder, parts)
    if digest != expected:
        has, file = (f"{folder / parts[0]} has", "the file") if alone else (f"the weights in {folder} have", "a file")
        raise BaseModelError(
            f"{field} = {name!r}: {has} SHA-256 {digest}, expected {expected}: {file} is damaged or was built anew. "
            "Install the project again; to use weights of your own, name their folder."
        )
    return folder


def checksum(folder: Path, parts: Sequence[str]) -> str:
    """The SHA-256 of the one file; of several, that of their own, in order."""
    each = [sha256(folder / part) for part in parts]
    return each[0] if len(each) == 1 else hashlib.sha256("".join(each).encode()).hexdigest()
