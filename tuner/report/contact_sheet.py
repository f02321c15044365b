"""Pictures of outputs side by side: reference, base and tuned of one output, or of many on a sheet.

Pixels stay as they were drawn where they can: small pictures are enlarged by whole factors, large ones made smaller.
Knows nothing of where a sheet goes: a report saves it, TensorBoard shows it.
"""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from itertools import islice
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from tuner.data.image_shown import fitted, png
from tuner.store.files import write_bytes
from tuner.store.outputs import Output, read_outputs

ROLES = {"expected": "reference", "base": "base", "adapter": "tuned"}
"""What each of an output's pictures is called, in the order in which they stand."""
ITEMS = 12
"""Outputs on a sheet: the first, so that nobody chose them."""
SIDE = 256  # pixels of a picture's longer side at most
GAP = 4
MARGIN = 24
COLUMNS = 2
LINES = 2  # of a caption
FONT, SMALL = 16, 13
INK, SOFT, HOLE = "#1f2933", "#5d6874", "#e1e5e9"


def pictured(folder: Path) -> Iterator[Output]:
    """The outputs of the study in `folder` that have pictures, in order, a few of them in memory at a time; none where
    the first few have none. Raises StoreError for outputs that cannot be read."""
    known = read_outputs(folder)
    names = [item.name for item in known.items] if known else []
    for start in range(0, len(names), ITEMS):
        some = read_outputs(folder, names[start : start + ITEMS])
        found = [item for item in some.items if item.pictures] if some else []
        if not found:
            return
        yield from found


def side_by_side(pictures: Mapping[str, bytes]) -> Image.Image:
    """The pictures of one output by role, from left to right with thin gaps; grey where one is missing or cannot be
    read."""
    opened = [_opened(pictures.get(role)) for role in ROLES]
    width = max((each.width for each in opened if each), default=SIDE)
    height = max((each.height for each in opened if each), default=SIDE)
    strip = Image.new("RGB", (len(ROLES) * (width + GAP) - GAP, height), "white")
    for place, each in enumerate(opened):
        each = each or Image.new("RGB", (width, height), HOLE)
        strip.paste(each, (place * (width + GAP) + (width - each.width) // 2, (height - each.height) // 2))
    return strip


def contact_sheet(items: Sequence[Output]) -> Image.Image:
    """The first `ITEMS` outputs, each with its pictures' names above and its input below. There must be one."""
    strips = [side_by_side(item.pictures) for item in items[:ITEMS]]
    columns = min(COLUMNS, len(strips))
    width, height = max(strip.width for strip in strips), max(strip.height for strip in strips)
    head, line = 2 * SMALL, round(1.35 * FONT)
    cell = (width + MARGIN, head + height + GAP + LINES * line + MARGIN)
    size = (columns * cell[0] + MARGIN, math.ceil(len(strips) / columns) * cell[1] + MARGIN)
    sheet = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(sheet)
    for place, (item, strip) in enumerate(zip(items, strips, strict=False)):
        x = MARGIN + place % columns * cell[0]
        y = MARGIN + place // columns * cell[1]
        each = (strip.width + GAP) // len(ROLES)
        for number, title in enumerate(ROLES.values()):
            draw.text((x + number * each + (each - GAP) / 2, y), title, SOFT, _font(SMALL), anchor="ma")
        sheet.paste(strip, (x, y + head))
        for number, words in enumerate(_lines(item.input or item.name, width)):
            draw.text((x, y + head + height + 2 * GAP + number * line), words, INK, _font(FONT))
    return sheet


def write_contact_sheet(folder: Path, path: Path) -> bool:
    """Save the sheet of the study in `folder`, where its outputs have pictures: whether they do. Raises StoreError."""
    items = list(islice(pictured(folder), ITEMS))
    if items:
        write_bytes(path, png(contact_sheet(items)))
    return bool(items)


def _opened(data: bytes | None) -> Image.Image | None:
    """A picture in the size in which it is shown."""
    if data is None:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(data)).convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError, Image.DecompressionBombWarning):
        return None
    return fitted(image, SIDE)


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    """The font of the other charts."""
    import matplotlib

    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf", size)


def _lines(text: str, width: int) -> list[str]:
    """A caption in as many lines as there is room for, broken between words where it can be."""
    font, rest = _font(FONT), " ".join(text.split())
    found: list[str] = []
    while rest and len(found) < LINES:
        ends = "…" if len(found) == LINES - 1 else ""
        if font.getlength(rest[:width]) <= width:
            found.append(rest)
            break
        size = next(
            n for n in range(min(len(rest), width), 0, -1) if n == 1 or font.getlength(rest[:n] + ends) <= width
        )
        space = rest.rfind(" ", 0, size + 1)
        size = space if space > 0 else size
        found.append(rest[:size] + ends)
        rest = rest[size:].lstrip()
    return found
