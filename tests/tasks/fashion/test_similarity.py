"""Tests of tuner/tasks/fashion/similarity.py: structure, colour and whole comparisons, by naive formulas."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import astuple
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tuner.tasks.fashion.similarity import (
    PictureScores,
    category_probabilities,
    category_similarity,
    colour_similarity,
    compare,
    embedding_similarity,
    means,
    ssim,
)

SETTINGS = settings(deadline=None, derandomize=True, max_examples=60)
SIDES = st.integers(1, 24)
PICTURES = st.tuples(SIDES, SIDES).flatmap(lambda size: hnp.arrays(np.uint8, (*size, 3)))


def noisy(picture: np.ndarray[Any, Any], strength: float, seed: int) -> np.ndarray[Any, Any]:
    """The picture with Gaussian noise, of a standard deviation in levels of 256."""
    noise = np.random.default_rng(seed).normal(0, strength, picture.shape)
    return np.clip(picture + noise, 0, 255).astype(np.uint8)


def garment(height: int = 48, width: int = 40, colour: Sequence[int] = (180, 40, 60)) -> np.ndarray[Any, Any]:
    """A coloured shape with a soft shade on a light ground."""
    y, x = np.mgrid[0:height, 0:width] / np.array([height, width])[:, None, None]
    picture = np.full((height, width, 3), 235.0)
    inside = (abs(x - 0.5) < 0.15 + 0.2 * y) & (y > 0.2) & (y < 0.9)
    picture[inside] = np.array(colour) * (0.7 + 0.3 * x[inside])[:, None]
    return picture.astype(np.uint8)


def flat(level: int, size: tuple[int, int] = (9, 9)) -> np.ndarray[Any, Any]:
    """One grey everywhere."""
    return np.full((*size, 3), level, np.uint8)


def naive_ssim(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any], window: int) -> float:
    """The formula of Wang et al. (2004), window by window."""
    x, y = (picture @ np.array([0.2125, 0.7154, 0.0721]) / 255 for picture in (a, b))
    first, second = 0.01**2, 0.03**2
    values = []
    for top in range(x.shape[0] - window + 1):
        for left in range(x.shape[1] - window + 1):
            p, q = (each[top : top + window, left : left + window].ravel() for each in (x, y))
            both = np.cov(p, q)
            means_ = (2 * p.mean() * q.mean() + first) / (p.mean() ** 2 + q.mean() ** 2 + first)
            values.append(means_ * (2 * both[0, 1] + second) / (both[0, 0] + both[1, 1] + second))
    return float(np.mean(values))


@pytest.mark.parametrize(
    ("size", "window"), [((12, 9), 7), ((7, 30), 7), ((6, 8), 5), ((5, 5), 5), ((4, 3), 3), ((3, 9), 3)]
)
def test_structure_is_the_naive_formula_in_the_largest_window_that_fits(size: tuple[int, int], window: int) -> None:
    rng = np.random.default_rng(1)
    a, b = rng.integers(0, 256, (2, *size, 3), dtype=np.uint8)
    assert ssim(a, b) == pytest.approx(naive_ssim(a, b, window), abs=1e-9)
    assert ssim(a, noisy(a, 30, 2)) == pytest.approx(naive_ssim(a, noisy(a, 30, 2), window), abs=1e-9)


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (1, 9), (9, 9)])
def test_even_pictures_are_compared_by_brightness(size: tuple[int, int]) -> None:
    dark, light = 51 / 255, 204 / 255
    expected = (2 * dark * light + 1e-4) / (dark**2 + light**2 + 1e-4)
    assert ssim(flat(51, size), flat(204, size)) == pytest.approx(expected, abs=1e-9)
    assert ssim(flat(0, size), flat(255, size)) == pytest.approx(1e-4 / 1.0001, abs=1e-9)
    assert ssim(flat(0, size), flat(0, size)) == 1.0


def test_structure_turned_round_is_below_zero() -> None:
    board = np.indices((16, 16)).sum(axis=0)[..., None].repeat(3, axis=2) % 2 * 255
    assert ssim(board.astype(np.uint8), (255 - board).astype(np.uint8)) < -0.9


def test_colour_alone_leaves_the_structure_alone() -> None:
    grey = garment(colour=(90, 90, 90))
    red = garment(colour=(242, 53, 0))  # as bright: 0.2125 * 242 + 0.7154 * 53 is 89
    assert ssim(grey, red) > 0.99
    assert ssim(grey, garment(colour=(255, 255, 255))) < 0.9


@given(PICTURES, PICTURES)
@SETTINGS
def test_pictures_of_any_size_compare_within_the_range_and_both_ways(
    a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]
) -> None:
    for measure in (ssim, colour_similarity):
        assert -1.0 <= measure(a, b) <= 1.0
        assert measure(a, b) == pytest.approx(measure(b, a), abs=1e-12)
        assert measure(a, a) == pytest.approx(1.0, abs=1e-12)
    assert ssim(a, a) == 1.0


@pytest.mark.parametrize("factor", [2, 3])
def test_a_larger_copy_is_the_same_picture(factor: int) -> None:
    small = garment()
    large = small.repeat(factor, axis=0).repeat(factor, axis=1)
    assert ssim(small, large) > 0.97
    assert ssim(small, large) == ssim(large, small)
    assert colour_similarity(small, large) == pytest.approx(1.0, abs=1e-12), "shares of pixels, not counts"
    assert ssim(small, garment(96, 20)) > 0.8, "each side is brought to the smaller one, one picture or the other"


def test_shrinking_smooths_first() -> None:
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    assert ssim(stripes, flat(128, (16, 16))) > 0.9, "every fourth column would all be black"


def test_shrinking_makes_black_no_blacker() -> None:
    edge = np.zeros((2, 8, 3), np.uint8)
    edge[:, 4:] = 255
    large = edge.repeat(4, axis=1)
    # By brightness, pixel by pixel: a value below 0, which the resizing leaves beside an edge, is unlike black.
    assert ssim(edge, large) > 0.83


@pytest.mark.parametrize("measure", [ssim, colour_similarity])
def test_more_noise_is_less_alike(measure: Any) -> None:
    seeds = range(6)
    found = [
        np.mean([measure(garment(), noisy(garment(), strength, seed)) for seed in seeds])
        for strength in (0, 4, 8, 16, 32, 64)
    ]
    assert found == sorted(found, reverse=True)
    assert found[0] == pytest.approx(1.0, abs=1e-12)
    assert found[-1] < 0.5


def test_colour_is_the_correlation_of_the_histograms() -> None:
    rng = np.random.default_rng(3)
    a = (rng.integers(0, 4, (30, 20, 3)) * 10).astype(np.uint8)
    b = (rng.integers(0, 5, (11, 17, 3)) * 10).astype(np.uint8)
    first, second = (
        np.histogramdd(picture.reshape(-1, 3), bins=[32] * 3, range=[(0, 256)] * 3)[0].ravel() for picture in (a, b)
    )
    assert colour_similarity(a, b) == pytest.approx(np.corrcoef(first, second)[0, 1], abs=1e-12)


def test_colours_of_one_bin_are_one_and_others_have_nothing_in_common() -> None:
    assert colour_similarity(flat(0), flat(7)) == pytest.approx(1.0)
    assert colour_similarity(flat(7), flat(8)) == pytest.approx(-1 / (32**3 - 1))
    red, green, blue = (np.eye(3, dtype=np.uint8)[i] * np.full((4, 4, 3), 200, np.uint8) for i in range(3))
    assert max(colour_similarity(red, green), colour_similarity(green, blue), colour_similarity(blue, red)) < 0


def test_a_histogram_that_is_alike_everywhere() -> None:
    every = np.stack(np.meshgrid(*[np.arange(4, 256, 8)] * 3), axis=-1).reshape(256, 128, 3).astype(np.uint8)
    assert colour_similarity(every, np.concatenate([every] * 3)) == 1.0
    assert colour_similarity(every, garment()) == colour_similarity(garment(), every) == 0.0


@given(PICTURES, PICTURES, st.integers(0, 9))
@SETTINGS
def test_colour_does_not_know_where_it_stands(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any], seed: int) -> None:
    moved = np.random.default_rng(seed).permutation(b.reshape(-1, 3)).reshape(b.shape)
    assert colour_similarity(a, moved) == colour_similarity(a, b)


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 0, 3), np.uint8),
        np.zeros((4, 4, 3), np.float32),
    ],
)
def test_what_is_no_picture_is_refused(wrong: np.ndarray[Any, Any]) -> None:
    for measure in (ssim, colour_similarity):
        for pair in ((wrong, flat(0)), (flat(0), wrong)):
            with pytest.raises(ValueError, match=r"a picture is \(H, W, 3\) of uint8"):
                measure(*pair)


def test_compare_is_every_similarity_of_every_pair() -> None:
    rng = np.random.default_rng(5)
    references = [garment(), garment(30, 30, (20, 90, 200))]
    generated = [noisy(garment(40, 40), 10, 1), garment(30, 30, (20, 90, 200))]
    one, texts = rng.normal(size=(2, 8)), rng.normal(size=(16, 8))
    two = np.stack([one[0] + 0.5 * rng.normal(size=8), one[1]])
    found = compare(references, generated, one, two, texts, 10.0)
    first, second = (category_probabilities(each, texts, 10.0) for each in (one, two))
    assert found == [
        PictureScores(
            ssim(references[i], generated[i]),
            category_similarity(first[i], second[i]),
            embedding_similarity(one[i], two[i]),
            colour_similarity(references[i], generated[i]),
        )
        for i in range(2)
    ]
    same = found[1]
    assert (same.ssim, same.clip_category) == (1.0, pytest.approx(1.0))
    assert (same.clip_embedding, same.colour) == (pytest.approx(1.0), pytest.approx(1.0))
    assert found[0].ssim < 1.0
    assert compare([], [], one[:0], two[:0], texts, 10.0) == []
    for short in (
        (references[:1], generated, one, two),
        (references, generated[:1], one, two),
        (references, generated, one[:1], two),
        (references, generated, one, two[:1]),
    ):
        with pytest.raises(ValueError, match="as many each"):
            compare(*short, texts, 10.0)


def test_means_are_over_what_was_measured() -> None:
    nan = math.nan
    found = means([PictureScores(0.2, nan, nan, -0.1), PictureScores(0.4, 0.7, nan, 0.3)])
    assert (found.ssim, found.clip_category, found.colour) == (pytest.approx(0.3), 0.7, pytest.approx(0.1))
    assert math.isnan(found.clip_embedding)
    assert all(math.isnan(value) for value in astuple(means([])))


def test_pictures_are_compared_without_torch() -> None:
    code = "import sys, tuner.tasks.fashion.similarity; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
