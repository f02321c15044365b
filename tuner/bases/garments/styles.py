"""The four styles that the general set never shows: their names, colours, patterns and backgrounds.

Knows nothing of drawing: how a pattern is painted is in `style_surfaces`, how the light falls in `finishes`.
"""

from __future__ import annotations

from dataclasses import dataclass

from tuner.bases.garments.palette import RGB


@dataclass(frozen=True)
class Style:
    """One style: `colours` of the cloth, `accents` of what is painted on it, `patterns` with the words for them."""

    colours: dict[str, RGB]
    accents: dict[str, RGB]
    patterns: dict[str, str]
    background: str


STYLES: dict[str, Style] = {
    "vintage floral": Style(
        colours={
            "dusty rose": (205, 150, 142),
            "sage": (160, 172, 136),
            "mustard": (206, 166, 84),
            "cream": (238, 224, 190),
        },
        accents={"rose": (172, 70, 76), "old pink": (222, 150, 140), "ivory": (250, 240, 214)},
        patterns={"roses": "small roses", "rose garland": "rows of roses"},
        background="cream paper",
    ),
    "denim": Style(
        colours={"indigo": (42, 58, 108), "mid blue": (72, 104, 158), "light blue": (134, 166, 206)},
        accents={"orange": (232, 142, 52)},
        patterns={"twill": "orange stitching", "faded twill": "a faded wash"},
        background="light linen",
    ),
    "monochrome street": Style(
        colours={"black": (26, 26, 28), "charcoal": (66, 67, 70), "white": (244, 244, 244)},
        accents={"black": (20, 20, 22), "white": (248, 248, 248)},
        patterns={"bold stripe": "one bold stripe", "blocks": "bold blocks", "letters": "big letters"},
        background="concrete wall",
    ),
    "pastel romantic": Style(
        colours={
            "blush": (248, 204, 206),
            "lilac": (214, 196, 238),
            "mint": (190, 232, 212),
            "baby blue": (186, 216, 246),
        },
        accents={"white": (255, 252, 252)},
        patterns={"blossoms": "tiny blossoms", "lace": "lace"},
        background="pink bokeh",
    ),
}
