"""What can be said of a look, from one word to all of it, and of which other looks the same is true.

Two pictures of red dresses both fit "a red dress": a model taught that only one of them does learns to tell apart what
the words do not. So every saying knows what it claims, and training takes each look of which all claims hold.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tuner.bases.garments.captions import FORMS, MANY, a, caption
from tuner.bases.garments.kinds import KIND, said
from tuner.bases.garments.look import ONE_COLOUR, Look

FACTS = ("garment", "kind", "colour", "pattern", "accent", "background", "style")
_SHORT = 8
# the facts that each wording of `captions.caption` claims, of a look without style and of a styled one
_PLAIN = (
    ("garment", "colour", "pattern"),
    ("garment", "colour", "pattern", "background"),
    ("garment", "colour", "pattern", "accent", "background"),
    ("garment", "colour", "pattern", "background"),
    ("garment", "colour", "pattern", "accent"),
    ("garment", "colour", "pattern"),
    ("garment", "colour", "pattern", "background"),
    ("garment", "colour", "pattern", "accent"),
)
_STYLED = (
    ("garment", "colour", "pattern", "style"),
    ("garment", "style"),
    ("garment", "colour", "style"),
    ("garment", "colour", "pattern", "style"),
    ("garment", "colour", "pattern", "style"),
    ("garment", "colour", "pattern", "style"),
    ("garment", "colour", "pattern", "style"),
    ("garment", "colour", "style"),
)


@dataclass(frozen=True)
class Saying:
    """A text and the facts of a look that it claims."""

    text: str
    claims: tuple[str, ...]


def facts(look: Look) -> tuple[str, ...]:
    """A look's facts in the order of `FACTS`. A second colour that is not seen is none."""
    accent = "" if look.style is None and look.pattern in ONE_COLOUR else look.accent
    return (look.garment, KIND[look.garment], look.colour, look.pattern, accent, look.background, look.style or "")


def saying(look: Look, form: int) -> Saying:
    """The look in the wordings of `caption`, and after them in `_SHORT` short ones."""
    if form < FORMS:
        return Saying(caption(look, form), (_PLAIN if look.style is None else _STYLED)[form])
    many, kind = look.garment in MANY, KIND[look.garment]
    style = look.style or "everyday"
    return (
        Saying(f"a photo of {said(look.garment)}", ("garment",)),
        Saying(look.garment, ("garment",)),
        Saying(f"a photo of {said(kind)}", ("kind",)),
        Saying(f"{a(f'{look.colour} {look.garment}', many)}", ("garment", "colour")),
        Saying(f"{a(f'{look.pattern} {look.garment}', many)}", ("garment", "pattern"))
        if look.style is None
        else Saying(f"{a(f'{style} {look.garment}', many)}", ("garment", "style")),
        Saying(f"a photo of something {look.colour}", ("colour",)),
        Saying(f"{look.pattern} clothing", ("pattern",))
        if look.style is None
        else Saying(f"{style} clothing", ("style",)),
        Saying(f"{style} fashion style", ("style",)),
    )[form - FORMS]


SAYINGS = FORMS + _SHORT


def fits(looks: np.ndarray, claims: Sequence[tuple[str, ...]]) -> np.ndarray:
    """Whether saying i, made of look i, is true of look j: (B, B) of bool, from facts as numbers (B, len(FACTS))."""
    same = looks[:, None, :] == looks[None, :, :]  # (B, B, facts)
    asked = np.array([[name in each for name in FACTS] for each in claims])  # (B, facts)
    found: np.ndarray = (same | ~asked[:, None, :]).all(-1)
    return found
