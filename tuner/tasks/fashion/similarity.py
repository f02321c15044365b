"""How alike a generated picture and its reference are, in structure, meaning and colour.

ssim                   structure: structural similarity of the two in grey, -1 to 1
category_similarity    meaning: whether both show the same kind of garment, and as surely, 0 to 1
embedding_similarity   meaning: the cosine of their embeddings, 0 to 1, 0 for less
colour_similarity      colour: the correlation of their colour histograms, -1 to 1

1 is "the same" for all, each is symmetric, and pictures may differ in size. What cannot be measured, an embedding that
is zero or not finite, is NaN: no number is made up. Knows no model: embeddings come from whoever has one. How the
similarities make one loss is for the task's benchmark to say (`tuner.score_benchmark.total_loss`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from skimage.color import rgb2gray
from skimage.metrics import structural_similarity

from tuner.tasks.fashion.categories import CATEGORIES, LEVELS

Picture = NDArray[np.uint8]  # (H, W, 3), red, green, blue
Floats = NDArray[np.floating[Any]]

WINDOW = 7  # pixels: scikit-image's default
BINS = 32  # of each of the three colours
LABEL_WEIGHT, CONFIDENCE_WEIGHT = 0.7, 0.3


@dataclass(frozen=True)
class PictureScores:
    """One generated picture against its reference, or the mean of several; NaN is "not measured"."""

    ssim: float
    clip_category: float
    clip_embedding: float
    colour: float


def ssim(reference: Picture, generated: Picture) -> float:
    """Mean structural similarity, -1 to 1, of two pictures in grey (0 to 1), over windows of 7 x 7 pixels.

    Both are first brought to the smaller height and the smaller width of the two, so that neither is credited with
    detail it does not have; other proportions are stretched. A smaller picture has the largest odd window that fits; in
    one of less than 3 pixels a side only brightness is left to compare. Of even pictures brightness alone decides too:
    the constants of the formula keep it defined. Raises ValueError for what is no picture."""
    height = min(_picture(reference).shape[0], _picture(generated).shape[0])
    width = min(reference.shape[1], generated.shape[1])
    window = min(WINDOW, height - 1 + height % 2, width - 1 + width % 2)
    found = structural_similarity(  # type: ignore[no-untyped-call,unused-ignore]
        _grey(reference, height, width),
        _grey(generated, height, width),
        win_size=window,
        data_range=1.0,
        use_sample_covariance=window > 1,  # one pixel has none
    )
    return _clip(float(found), -1.0)


def colour_similarity(reference: Picture, generated: Picture) -> float:
    """Correlation, -1 to 1, of two histograms of 32 x 32 x 32 bins of red, green and blue, each divided by its pixels.

        sum((a - mean a) * (b - mean b)) / sqrt(sum((a - mean a)^2) * sum((b - mean b)^2))

    which is OpenCV's HISTCMP_CORREL (`compareHist`). Blind to where a colour stands. Pictures without a bin in common
    have a little less than 0, and neighbouring bins are as far apart as any. A histogram that fills all bins alike
    correlates with nothing: two such count as 1, one as 0 (OpenCV has 1 for both). Raises ValueError for no picture."""
    a, b = _histogram(reference), _histogram(generated)
    if not (a.any() and b.any()):
        return float(a.any() == b.any())
    return _clip(float(a @ b) / math.sqrt(float(a @ a) * float(b @ b)), -1.0)


def category_probabilities(images: Floats, texts: Floats, scale: float) -> NDArray[np.float64]:
    """How probably each picture is of each category, (N, 16), from embeddings of pictures (N, D) and of the 16 prompts
    (16, D), of any length, and the factor of their cosines (`logit_scale` already exponentiated: 100 for CLIP).

    Softmax within the 6 basic and within the 10 detailed categories: each of the two parts of a row sums to 1. A
    picture's row is NaN if its embedding is zero or not finite. Raises ValueError for other shapes, for a prompt of
    such an embedding and for a scale that is not positive and finite."""
    if texts.shape[:1] != (len(CATEGORIES),) or images.ndim != 2 or images.shape[1:] != texts.shape[1:]:
        raise ValueError(f"embeddings are (N, D) and ({len(CATEGORIES)}, D), not {images.shape} and {texts.shape}")
    if not (math.isfinite(scale) and scale > 0):
        raise ValueError(f"the scale of the cosines is positive and finite, not {scale}")
    prompts, pictures = _directions(texts), _directions(images)
    if np.isnan(prompts).any():
        raise ValueError("the embedding of a prompt is zero or not finite")
    unknown = np.isnan(pictures[:, :1])
    logits = scale * (np.where(unknown, 0.0, pictures) @ prompts.T)
    levels = [np.exp(logits[:, level] - logits[:, level].max(axis=1, keepdims=True)) for level in LEVELS]
    found = np.concatenate([level / level.sum(axis=1, keepdims=True) for level in levels], axis=1)
    return np.where(unknown, np.nan, found)


def category_similarity(reference: Floats, generated: Floats) -> float:
    """Whether two pictures show the same kind of garment, 0 to 1, from their probabilities, (16,) each:

        0.7 * (the labels are the same) + 0.3 * (1 - |difference of the confidences|)

    as the mean over the two levels, where the label of a level is its most probable category (the first of equals) and
    the confidence its probability. So 0.7 and more agrees on both levels, 0.35 to 0.65 on one (a shirt for a T-shirt)
    and up to 0.3 on none. NaN where a probability is. Raises ValueError for other shapes and for what is no
    probability."""
    for each in (reference, generated):
        if each.shape != (len(CATEGORIES),):
            raise ValueError(f"probabilities are ({len(CATEGORIES)},), not {each.shape}")
    if np.isnan(reference).any() or np.isnan(generated).any():
        return math.nan
    if min(reference.min(), generated.min()) < 0 or max(reference.max(), generated.max()) > 1 + 1e-6:
        raise ValueError("probabilities lie between 0 and 1")
    forms = []
    for level in LEVELS:
        a, b = reference[level], generated[level]
        apart = abs(float(a.max()) - float(b.max()))
        forms.append(LABEL_WEIGHT * float(a.argmax() == b.argmax()) + CONFIDENCE_WEIGHT * (1 - apart))
    return _clip(sum(forms) / len(forms), 0.0)


def embedding_similarity(reference: Floats, generated: Floats) -> float:
    """The cosine of two embeddings, (D,) each, with 0 for one below: pictures that point apart have nothing in common,
    however far. Not stretched from -1..1 to 0..1, which would call unrelated pictures half alike. NaN where an
    embedding is zero or not finite. Raises ValueError for other shapes."""
    if reference.ndim != 1 or reference.shape != generated.shape:
        raise ValueError(f"embeddings are two of (D,), not {reference.shape} and {generated.shape}")
    a, b = _directions(reference[None])[0], _directions(generated[None])[0]
    if np.isnan(a).any() or np.isnan(b).any():
        return math.nan
    return _clip(float(a @ b), 0.0)


def compare(
    references: Sequence[Picture],
    generated: Sequence[Picture],
    reference_embeddings: Floats,
    generated_embeddings: Floats,
    texts: Floats,
    scale: float,
) -> list[PictureScores]:
    """All similarities of each generated picture and its reference, N of each, with their embeddings (N, D); `texts`
    and `scale` as in `category_probabilities`. Raises ValueError if one is missing its partner or has another shape."""
    counts = [len(references), len(generated), len(reference_embeddings), len(generated_embeddings)]
    if len(set(counts)) > 1:
        raise ValueError(f"references, pictures and the embeddings of both are as many each, not {counts}")
    wanted = category_probabilities(reference_embeddings, texts, scale)
    found = category_probabilities(generated_embeddings, texts, scale)
    return [
        PictureScores(
            ssim=ssim(references[i], generated[i]),
            clip_category=category_similarity(wanted[i], found[i]),
            clip_embedding=embedding_similarity(reference_embeddings[i], generated_embeddings[i]),
            colour=colour_similarity(references[i], generated[i]),
        )
        for i in range(len(references))
    ]


def means(scores: Sequence[PictureScores]) -> PictureScores:
    """The mean of each similarity over the pictures where it was measured; NaN where it never was."""
    columns = np.array([astuple(each) for each in scores], dtype=np.float64).reshape(-1, 4).T
    measured = [column[~np.isnan(column)] for column in columns]
    return PictureScores(*(math.fsum(values) / len(values) if len(values) else math.nan for values in measured))


def _picture(pixels: Picture) -> Picture:
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
        raise ValueError(f"a picture is (H, W, 3) of uint8 with a pixel at least, not {pixels.shape} of {pixels.dtype}")
    return pixels


def _grey(pixels: Picture, height: int, width: int) -> NDArray[np.float64]:
    """A picture in grey, 0 to 1, of that size."""
    grey: NDArray[np.float64] = rgb2gray(pixels)
    if grey.shape != (height, width):
        image = Image.fromarray(grey.astype(np.float32))  # the one type of float that Pillow resizes
        grey = np.asarray(image.resize((width, height), Image.Resampling.LANCZOS), dtype=np.float64)
    return np.clip(grey, 0.0, 1.0)  # Lanczos overshoots at edges


def _histogram(pixels: Picture) -> NDArray[np.float64]:
    """Shares of the pixels in each bin less their mean, (32768,); exactly zero where all bins are alike."""
    red, green, blue = np.moveaxis(_picture(pixels).astype(np.int64) * BINS // 256, -1, 0)
    counts = np.bincount(((red * BINS + green) * BINS + blue).ravel(), minlength=BINS**3)
    shares: NDArray[np.float64] = counts / counts.sum()
    return shares - 1 / BINS**3  # their mean, 2^-15, which a float holds exactly


def _directions(rows: Floats) -> NDArray[np.float64]:
    """Rows of length 1, (N, D); a row that is zero or not finite becomes NaN."""
    wide = np.asarray(rows, dtype=np.float64)
    peaks = np.abs(wide).max(axis=1, keepdims=True, initial=0.0)
    usable = np.isfinite(peaks) & (peaks > 0)
    # Over the largest entry first: squares of very long or very short rows leave the range of a float.
    scaled = np.where(usable, wide, np.nan) / np.where(usable, peaks, 1.0)
    directions: NDArray[np.float64] = scaled / np.linalg.norm(scaled, axis=1, keepdims=True)
    return directions


def _clip(value: float, least: float) -> float:
    """Between `least` and 1, which rounding oversteps."""
    return min(max(value, least), 1.0)
