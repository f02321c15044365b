"""The contact sheet: every picture in its place, unchanged where it is small."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from tuner.tasks.fashion.sheet import GAP, HEAD, LETTERS, LINES, MARGIN, SIDE, WORDS, _wrapped, contact_sheet


def opened(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        return np.array(image)


@pytest.mark.parametrize("side", [32, 64, 200])
def test_every_picture_stands_in_its_cell(side: int) -> None:
    colours = [[(row * 80, column * 60, 200) for column in range(3)] for row in range(2)]
    rows = [[np.full((side, side, 3), colour, np.uint8) for colour in each] for each in colours]
    sheet = opened(contact_sheet(["one", "two"], ["a", "b", "c"], rows))
    assert sheet.shape == (2 * MARGIN + HEAD + 2 * (SIDE + GAP), 2 * MARGIN + WORDS + 3 * (SIDE + GAP), 3)
    for row, each in enumerate(colours):
        for column, colour in enumerate(each):
            y = MARGIN + HEAD + row * (SIDE + GAP) + SIDE // 2
            x = MARGIN + WORDS + column * (SIDE + GAP) + SIDE // 2
            assert tuple(sheet[y, x]) == colour


def test_titles_and_captions_are_written() -> None:
    white = [[np.full((32, 32, 3), 255, np.uint8)]]
    blank = opened(contact_sheet([""], [""], white))
    titled = opened(contact_sheet([""], ["base"], white))
    told = opened(contact_sheet(["a dress\n\nprompt: a red dress"], [""], white))
    assert (blank == 255).all()
    assert (titled[: MARGIN + HEAD, MARGIN + WORDS :] < 255).any()
    assert (told[MARGIN + HEAD :, : MARGIN + WORDS] < 255).any()
    assert (told[:, MARGIN + WORDS :] == 255).all()


def test_long_captions_are_cut_and_lines_stay() -> None:
    lines = _wrapped("word " * 200).splitlines()
    assert len(lines) == LINES
    assert lines[-1] == "..."
    assert max(map(len, lines)) <= LETTERS
    assert _wrapped("one\n\ntwo") == "one\n\ntwo"
