"""A contact sheet: pictures in labelled columns, a caption before each row. Knows nothing of what they show."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from tuner.data.image_shown import fitted, png

SIDE = 160  # pixels of a cell; smaller pictures are enlarged by whole pixels, so that they stay as they are
GAP, MARGIN = 6, 12
WORDS = 240  # pixels of the column of captions
HEAD = 28
LETTERS = 40  # of a caption's line
LINES = 10  # of a caption
SIZE = 12  # of its letters
PAPER, INK = "white", "#222222"

Picture = NDArray[np.uint8]


def contact_sheet(captions: Sequence[str], titles: Sequence[str], rows: Sequence[Sequence[Picture]]) -> bytes:
    """A PNG of rows of pictures (H, W, 3), as many in each as there are titles, each row with its caption. Lines of a
    caption stay apart; what does not fit is cut off with dots."""
    font = ImageFont.load_default(SIZE)
    width = 2 * MARGIN + WORDS + len(titles) * (SIDE + GAP)
    sheet = Image.new("RGB", (width, 2 * MARGIN + HEAD + len(rows) * (SIDE + GAP)), PAPER)
    pen = ImageDraw.Draw(sheet)
    left = [MARGIN + WORDS + place * (SIDE + GAP) for place in range(len(titles))]
    for x, title in zip(left, titles, strict=True):
        pen.text((x, MARGIN), title, fill=INK, font=font)
    for number, (caption, pictures) in enumerate(zip(captions, rows, strict=True)):
        y = MARGIN + HEAD + number * (SIDE + GAP)
        pen.multiline_text((MARGIN, y), _wrapped(caption), fill=INK, font=font)
        for x, picture in zip(left, pictures, strict=True):
            shown = fitted(Image.fromarray(picture), SIDE)
            sheet.paste(shown, (x + (SIDE - shown.width) // 2, y + (SIDE - shown.height) // 2))
    return png(sheet)


def _wrapped(caption: str) -> str:
    lines = [part for line in caption.splitlines() for part in textwrap.wrap(line, LETTERS) or [""]]
    return "\n".join(lines if len(lines) <= LINES else [*lines[: LINES - 1], "..."])
