"""The kind that each garment is one of, and how both are said."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from tuner.bases.garments.captions import MANY, a

KIND: Mapping[str, str] = MappingProxyType(
    {
        "t-shirt": "top",
        "shirt": "top",
        "dress": "dress",
        "coat": "outerwear",
        "trousers": "bottoms",
        "skirt": "bottoms",
        "shoes": "footwear",
        "boots": "footwear",
        "bag": "accessory",
        "hat": "accessory",
    }
)
"""What each garment is one of."""

_UNCOUNTED = frozenset({"bottoms", "footwear", "outerwear"})


def said(name: str) -> str:
    """A garment or a kind with its article: "a dress", "trousers", "an accessory", "footwear"."""
    return a(name, name in MANY or name in _UNCOUNTED)
