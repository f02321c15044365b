"""What one picture shows, and the words it may be made of.

Knows nothing of drawing or of captions. A look of no style draws its words from the general vocabularies; a styled one
from its style's, which share no pattern and no background with them.
"""

from __future__ import annotations

from dataclasses import dataclass

from tuner.bases.garments.palette import COLOURS, RGB
from tuner.bases.garments.styles import STYLES
from tuner.errors import Problem

GARMENTS = ("t-shirt", "shirt", "dress", "coat", "trousers", "skirt", "shoes", "boots", "bag", "hat")
PATTERNS = ("plain", "striped", "dotted", "checked", "floral")
TEXTURES = ("ribbed", "quilted", "speckled", "gradient", "plaid", "zigzag")
BACKGROUNDS = (
    "plain white",
    "cream",
    "pale grey",
    "dark studio",
    "pale blue",
    "pale pink",
    "wooden floor",
    "brick wall",
    "soft gradient",
)

ONE_COLOUR = ("plain", "ribbed", "quilted")
"""The general surfaces that show the garment's colour alone: their accent is not seen."""


@dataclass(frozen=True)
class Look:
    """One picture: these fields decide every pixel of it at a given size.

    `accent` is the second colour, of stripes, dots and flowers; where the surface has one colour it is not seen.
    `seed` decides cut, pose and where the pattern falls, never a word. Raises `ValueError`, which names each field
    that is not one of its words and the words there are, or an accent that cannot be told from the colour.
    """

    garment: str
    pattern: str
    colour: str
    accent: str
    background: str
    style: str | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        problems = []
        if self.style is not None and self.style not in STYLES:
            problems.append(Problem("style", self.style, f"must be None or one of {', '.join(STYLES)}"))
            words: dict[str, tuple[str, ...]] = {"garment": GARMENTS}
        elif self.style is not None:
            style = STYLES[self.style]
            words = {
                "garment": GARMENTS,
                "pattern": tuple(style.patterns),
                "colour": tuple(style.colours),
                "accent": tuple(style.accents),
                "background": (style.background,),
            }
        else:
            words = {
                "garment": GARMENTS,
                "pattern": PATTERNS + TEXTURES,
                "colour": tuple(COLOURS),
                "accent": tuple(COLOURS),
                "background": BACKGROUNDS,
            }
        for name, allowed in words.items():
            value = getattr(self, name)
            if value not in allowed:
                problems.append(Problem(name, value, f"must be one of {', '.join(allowed)}"))
        if self.style is None and self.accent == self.colour and self.pattern not in ONE_COLOUR:
            rule = f"must differ from the colour, or nobody sees what is {self.pattern}"
            problems.append(Problem("accent", self.accent, rule))
        if self.seed < 0:
            problems.append(Problem("seed", self.seed, "must be 0 or more"))
        if problems:
            raise ValueError("\n".join(str(problem) for problem in problems))

    @property
    def main_rgb(self) -> RGB:
        """The colour of the cloth."""
        return COLOURS[self.colour] if self.style is None else STYLES[self.style].colours[self.colour]

    @property
    def accent_rgb(self) -> RGB:
        """The colour of what is painted on the cloth."""
        return COLOURS[self.accent] if self.style is None else STYLES[self.style].accents[self.accent]
