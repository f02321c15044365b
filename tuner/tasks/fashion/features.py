"""What a picture shows, as words with a confidence, found by asking a model of pictures and texts for each of them.

The words of a group are rivals: their probabilities sum to 1. The two levels of category are a group each (see
`categories`). Knows no model: embeddings come from whoever has one, and what is told apart is for that model to say.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate, pairwise
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tuner.bases.garments.captions import PLACES
from tuner.bases.garments.look import PATTERNS
from tuner.bases.garments.palette import COLOURS
from tuner.bases.garments.styles import STYLES
from tuner.tasks.fashion.categories import BASIC, CATEGORIES, DETAILED, LEVELS
from tuner.tasks.fashion.categories import PROMPTS as CATEGORY_PROMPTS

Floats = NDArray[np.floating[Any]]

GENERAL_STYLES = ("casual", "formal", "vintage", "romantic", "street", "sporty", "elegant", "classic", "modern")
NEUTRAL = "everyday"
"""The style of what has none: a rival of the others, and never a feature."""

MOTIFS = (
    "lace",
    "embroidery",
    "sequins",
    *dict.fromkeys(words for style in STYLES.values() for words in style.patterns.values() if words != "lace"),
)
"""Patterns that a garment is *with*; the others are said of it."""

SURROUNDINGS: Mapping[str, str] = MappingProxyType(
    {**PLACES, "city street": "on a city street", "green park": "in a green park", "shop": "in a shop"}
)
"""Each background, and how it is said after a garment."""


def _asked(prompt: str, *words: str) -> Mapping[str, str]:
    return MappingProxyType({word: prompt.format(word) for word in words})


VOCABULARY: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "basic category": MappingProxyType(dict(zip(BASIC, CATEGORY_PROMPTS[LEVELS[0]], strict=True))),
        "category": MappingProxyType(dict(zip(DETAILED, CATEGORY_PROMPTS[LEVELS[1]], strict=True))),
        "style": _asked("{} fashion style", *STYLES, *GENERAL_STYLES, NEUTRAL),
        "colour": _asked(
            "a photo of something {}",
            *dict.fromkeys([*COLOURS, "beige", *(name for style in STYLES.values() for name in style.colours)]),
        ),
        "pattern": MappingProxyType(
            {
                **_asked("{} clothing", *PATTERNS, "ribbed", "quilted", "speckled", "plaid", "zigzag"),
                **_asked("clothing with {}", *MOTIFS),
            }
        ),
        "background": MappingProxyType({word: f"a photo of clothing {said}" for word, said in SURROUNDINGS.items()}),
    }
)
"""By group, each word and what a text encoder is asked for it. The basic categories are those that stand in where no
detailed one is sure; a feature of either is one of the group "category"."""

PROMPTS = tuple(prompt for words in VOCABULARY.values() for prompt in words.values())
"""Every prompt, in the order of the rows of `text_embeddings`; the first 16 are those of `categories.PROMPTS`."""

GROUPS = tuple(name for name in VOCABULARY if name != "basic category")
"""The groups that a feature may be of."""

_WORDS = tuple((group, word) for group, words in VOCABULARY.items() for word in words)
_PARTS = tuple(slice(*ends) for ends in pairwise(accumulate([len(words) for words in VOCABULARY.values()], initial=0)))


@dataclass(frozen=True)
class Feature:
    """One word for a picture, of one of `GROUPS`, and its probability among the words of its group, 0 to 1. Raises
    ValueError for what `VOCABULARY` does not hold and for what is no probability."""

    group: str
    word: str
    confidence: float

    def __post_init__(self) -> None:
        known = CATEGORIES if self.group == "category" else VOCABULARY[self.group] if self.group in GROUPS else ()
        if self.word not in known or self.word == NEUTRAL:
            raise ValueError(f"{self.word!r} is no feature of the group {self.group!r}")
        if not 0 <= self.confidence <= 1:
            raise ValueError(f"a confidence lies between 0 and 1, not {self.confidence}")


def find_features(
    image_embeddings: Floats, text_embeddings: Floats, scale: float, *, threshold: float = 0.3, most: int = 5
) -> list[tuple[Feature, ...]]:
    """What each picture shows, the surest first, from embeddings of pictures (N, D) and of the V `PROMPTS` (V, D), of
    any length, and the factor of their cosines (`logit_scale` already exponentiated: 100 for CLIP).

    A picture has exactly one category, however unsure: the most probable detailed one if that reaches `threshold`,
    else the more probable of the best detailed and the best basic one. With it come the words of the other groups that
    reach `threshold`, the most probable first, `most` features in all. Of a group there may so be several: colours go
    together. A higher threshold never gives more. A picture of which the embedding is zero or not finite has none.

    Raises ValueError for other shapes, for a prompt of such an embedding, for a scale that is not positive and finite,
    for a threshold that is not between 0 and 1, and for `most` below 1."""
    shapes = image_embeddings.shape, text_embeddings.shape
    if shapes[1][:1] != (len(PROMPTS),) or len(shapes[0]) != 2 or shapes[0][1:] != shapes[1][1:]:
        raise ValueError(f"embeddings are (N, D) and ({len(PROMPTS)}, D), not {shapes[0]} and {shapes[1]}")
    if not (math.isfinite(scale) and scale > 0):
        raise ValueError(f"the scale of the cosines is positive and finite, not {scale}")
    if not 0 < threshold < 1 or most < 1:
        raise ValueError(
            f"a threshold lies between 0 and 1 and there is 1 feature at least, not {threshold} and {most}"
        )
    texts = _directions(text_embeddings)
    if np.isnan(texts).any():
        raise ValueError("the embedding of a prompt is zero or not finite")
    logits = scale * (_directions(image_embeddings) @ texts.T)
    return [() if np.isnan(row).any() else _features(row, threshold, most) for row in logits]


def _features(logits: NDArray[np.float64], threshold: float, most: int) -> tuple[Feature, ...]:
    """The features of one picture from its cosines with all prompts (V,), scaled."""
    parts = [np.exp(logits[part] - logits[part].max()) for part in _PARTS]
    sure = np.concatenate([part / part.sum() for part in parts]).tolist()
    basic, detailed = (max(range(level.start, level.stop), key=sure.__getitem__) for level in LEVELS)
    category = detailed if sure[detailed] >= min(threshold, sure[basic]) else basic
    ranked = sorted(range(len(CATEGORIES), len(sure)), key=lambda at: -sure[at])  # equals stay in their order
    others = [at for at in ranked if sure[at] >= threshold and _WORDS[at][1] != NEUTRAL]
    chosen = sorted([category, *others[: most - 1]], key=lambda at: -sure[at])
    return tuple(Feature(_WORDS[at][0].removeprefix("basic "), _WORDS[at][1], sure[at]) for at in chosen)


def _directions(rows: Floats) -> NDArray[np.float64]:
    """Rows of length 1, (N, D); a row that is zero or not finite becomes NaN."""
    wide = np.asarray(rows, dtype=np.float64)
    lengths = np.linalg.norm(wide, axis=1, keepdims=True)
    usable = np.isfinite(lengths) & (lengths > 0)
    directions: NDArray[np.float64] = np.where(usable, wide, np.nan) / np.where(usable, lengths, 1.0)
    return directions
