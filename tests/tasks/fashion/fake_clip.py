"""A FashionCLIP for tests that sees in a picture what its first pixel says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from tuner.tasks.fashion.features import PROMPTS, VOCABULARY
from tuner.tasks.fashion.rows import PictureRow, encoded

WORDS = [(group, word) for group, words in VOCABULARY.items() for word in words]


class FakeClip:
    """The embedding of a prompt of `PROMPTS` is an axis; that of a picture leans to the words of its number in `seen`,
    each with its weight. `asked` counts the pictures of each call."""

    scale = 30.0

    def __init__(self, seen: Sequence[Mapping[tuple[str, str], float]] = ()) -> None:
        self.seen = seen
        self.asked: list[int] = []

    def texts(self, texts: Sequence[str]) -> torch.Tensor:
        assert list(texts) == list(PROMPTS[: len(texts)])
        return torch.eye(len(PROMPTS))[: len(texts)]

    def images(self, pictures: Sequence[np.ndarray]) -> torch.Tensor:
        self.asked.append(len(pictures))
        found = torch.zeros(len(pictures), len(PROMPTS))
        for row, picture in zip(found, pictures, strict=True):
            for word, weight in self.seen[int(picture[0, 0, 0])].items():
                row[WORDS.index(word)] = weight
        return found


def picture(number: int, side: int = 16) -> np.ndarray[Any, Any]:
    """A picture of noise in which `seen[number]` is seen."""
    found = np.random.default_rng(number).integers(0, 256, (side, side, 3), dtype=np.uint8)
    found[0, 0, 0] = number
    return found


def row(number: int, caption: str = "") -> PictureRow:
    return PictureRow(f"row_{number}", caption, encoded(picture(number)))
