"""Sizes of pictures that are shown, and PNG files that give them back."""

import io

import numpy as np
import pytest
from PIL import Image

from tuner.data.image_shown import fitted, png


@pytest.mark.parametrize(
    ("size", "shown"),
    [((64, 64), (128, 128)), ((50, 20), (150, 60)), ((160, 10), (160, 10)), ((320, 160), (160, 80))],
)
def test_the_longer_side_fits(size: tuple[int, int], shown: tuple[int, int]) -> None:
    image = Image.new("RGB", size)
    assert fitted(image, 160).size == shown
    assert image.size == size


def test_small_pictures_keep_their_pixels() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    large = np.asarray(fitted(Image.fromarray(pixels), 20))
    assert np.array_equal(large, pixels.repeat(2, 0).repeat(2, 1))
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(png(Image.fromarray(pixels))))), pixels)


def test_what_is_told_of_a_picture_stands_in_its_file() -> None:
    image = Image.new("RGB", (8, 8), "red")
    told = {"seed": "7", "adapter": "pastel@1a2b3c4d5e6f"}
    assert Image.open(io.BytesIO(png(image, told))).info == told
    assert Image.open(io.BytesIO(png(image))).info == {}
    assert png(image, told) == png(image, told)
