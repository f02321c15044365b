"""The 16 categories by which the meaning of a fashion picture is judged: 6 basic ones, and 10 detailed ones in them.

Every picture has one category of each level: a coat is outerwear *and* a coat. The two levels are therefore judged
apart (see `similarity.category_probabilities`); were all 16 rivals, a coat's probability would be split between two
right answers. "dress" is on both levels: a place in `CATEGORIES` names a category, its word alone does not. Knows no
model.
"""

from __future__ import annotations

from tuner.bases.garments.kinds import KIND, said

BASIC = ("top", "bottoms", "dress", "outerwear", "footwear", "accessory")
BASIC_OF = KIND
"""The basic category of each detailed one."""

DETAILED = tuple(BASIC_OF)
CATEGORIES = (*BASIC, *DETAILED)
LEVELS = (slice(0, len(BASIC)), slice(len(BASIC), len(CATEGORIES)))
"""Where each level stands in `CATEGORIES`."""

PROMPTS = tuple(f"a photo of {said(name)}" for name in CATEGORIES)
"""What a text encoder is asked for each of `CATEGORIES`, to tell categories without training for them."""
