"""Tests of tuner/tasks/fashion/similarity.py and categories.py: meaning, from embeddings and from probabilities."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tuner.tasks.fashion.categories import BASIC, BASIC_OF, CATEGORIES, DETAILED, LEVELS, PROMPTS
from tuner.tasks.fashion.similarity import category_probabilities, category_similarity, embedding_similarity

SETTINGS = settings(deadline=None, derandomize=True, max_examples=60)
VECTORS = hnp.arrays(np.float32, 8, elements=st.floats(-(2.0**100), 2.0**100, width=32))


def levels(draw: st.DrawFn) -> np.ndarray[Any, Any]:
    """Probabilities of 16 categories, of which those of a level sum to 1."""
    parts = [draw(hnp.arrays(np.float64, part.stop - part.start, elements=st.floats(0.01, 1))) for part in LEVELS]
    return np.concatenate([part / part.sum() for part in parts])


PROBABILITIES = st.composite(levels)()


def test_every_detailed_category_is_one_of_the_basic() -> None:
    assert (len(BASIC), len(DETAILED), len(CATEGORIES), len(PROMPTS)) == (6, 10, 16, 16)
    assert [CATEGORIES[level] for level in LEVELS] == [BASIC, DETAILED]
    assert set(BASIC_OF.values()) == set(BASIC)
    assert set(BASIC_OF) == set(DETAILED)
    assert len(set(PROMPTS)) == 15, "a dress is asked for in the same words on both levels"
    for name, prompt in zip(CATEGORIES, PROMPTS, strict=True):
        assert prompt.startswith("a photo of ")
        assert prompt.endswith(f" {name}")


def test_probabilities_are_a_softmax_of_each_level() -> None:
    rng = np.random.default_rng(4)
    images, texts = rng.normal(size=(5, 8)), rng.normal(size=(16, 8))
    found = category_probabilities(images, texts, 7.0)
    assert found.shape == (5, 16)
    for row, image in zip(found, images, strict=True):
        weights = [math.exp(7 * image @ t / np.linalg.norm(image) / np.linalg.norm(t)) for t in texts]
        assert row[:6] == pytest.approx(np.array(weights[:6]) / sum(weights[:6]))
        assert row[6:] == pytest.approx(np.array(weights[6:]) / sum(weights[6:]))
    assert category_probabilities(1e-30 * images, 1e30 * texts, 7.0) == pytest.approx(found), "directions alone count"
    assert category_probabilities(1e200 * images, 1e-200 * texts, 7.0) == pytest.approx(found), (
        "nor do squares overflow"
    )
    assert category_probabilities(images.astype(np.float16), texts, 7.0) == pytest.approx(found, abs=0.01)
    assert np.isfinite(category_probabilities(images, texts, 1e6)).all(), "no factor overflows"
    assert category_probabilities(images[:0], texts, 7.0).shape == (0, 16)


def test_a_basic_category_is_no_rival_of_its_detailed_one() -> None:
    texts = np.eye(16)
    coat = texts[BASIC.index("outerwear")] + texts[6 + DETAILED.index("coat")]
    found = category_probabilities(coat[None], texts, 100.0)[0]
    assert found[BASIC.index("outerwear")] == pytest.approx(1.0)
    assert found[6 + DETAILED.index("coat")] == pytest.approx(1.0)


def test_an_embedding_without_direction_is_not_measured() -> None:
    images = np.array([[1.0, 0.0], [0.0, 0.0], [math.nan, 1.0], [math.inf, 1.0], [0.0, 1.0]])
    found = category_probabilities(images, np.ones((16, 2)), 1.0)
    assert np.isnan(found).all(axis=1).tolist() == [False, True, True, True, False]
    assert np.isnan(found).any(axis=1).tolist() == [False, True, True, True, False]
    for row in images[1:4]:
        assert math.isnan(embedding_similarity(images[0], row))
        assert math.isnan(embedding_similarity(row, images[0]))
    assert math.isnan(category_similarity(found[0], found[1]))
    assert math.isnan(category_similarity(found[2], found[4]))


@pytest.mark.parametrize(
    ("images", "texts", "scale", "words"),
    [
        (np.ones((2, 4)), np.ones((15, 4)), 1.0, "embeddings are"),
        (np.ones((2, 4)), np.ones((16, 5)), 1.0, "embeddings are"),
        (np.ones(4), np.ones((16, 4)), 1.0, "embeddings are"),
        (np.ones((2, 4)), np.ones((16, 4)), 0.0, "scale"),
        (np.ones((2, 4)), np.ones((16, 4)), math.inf, "scale"),
        (np.ones((2, 4)), np.zeros((16, 4)), 1.0, "prompt"),
    ],
)
def test_wrong_embeddings_are_refused(images: Any, texts: Any, scale: float, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        category_probabilities(images, texts, scale)


def probabilities(basic: int, first: float, detailed: int, second: float) -> np.ndarray[Any, Any]:
    """One label of each level with its confidence, and the rest spread evenly."""
    found = np.concatenate([np.full(6, (1 - first) / 5), np.full(10, (1 - second) / 9)])
    found[basic], found[6 + detailed] = first, second
    return found


def test_meaning_by_hand() -> None:
    shirt = probabilities(0, 0.9, 1, 0.6)
    assert category_similarity(shirt, shirt) == pytest.approx(1.0)
    # both labels; confidences 0.2 and 0.1 apart
    assert category_similarity(shirt, probabilities(0, 0.7, 1, 0.5)) == pytest.approx(0.7 + 0.3 * 0.85)
    # the basic label alone
    assert category_similarity(shirt, probabilities(0, 0.9, 0, 0.6)) == pytest.approx((1.0 + 0.3) / 2)
    # no label, confidences 0.4 apart on one level
    assert category_similarity(shirt, probabilities(3, 0.5, 3, 0.6)) == pytest.approx(0.3 * (0.6 + 1) / 2)


@given(PROBABILITIES, PROBABILITIES)
@SETTINGS
def test_meaning_lies_between_nothing_and_the_same(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> None:
    found = category_similarity(a, b)
    assert 0.0 <= found <= 1.0
    assert found == category_similarity(b, a)
    assert category_similarity(a, a) == pytest.approx(1.0)
    same = [a[level].argmax() == b[level].argmax() for level in LEVELS]
    low, high = {2: (0.7, 1.0), 1: (0.35, 0.65), 0: (0.0, 0.3)}[sum(same)]
    assert low <= found + 1e-12
    assert found <= high + 1e-12


@pytest.mark.parametrize(
    ("wrong", "words"), [(np.ones(15) / 15, "probabilities are"), (np.full(16, 2.0), "between"), (-np.eye(16)[0], "be")]
)
def test_what_are_no_probabilities_is_refused(wrong: np.ndarray[Any, Any], words: str) -> None:
    right = probabilities(0, 0.9, 1, 0.6)
    for pair in ((wrong, right), (right, wrong)):
        with pytest.raises(ValueError, match=words):
            category_similarity(*pair)


@given(VECTORS, VECTORS)
@SETTINGS
def test_embeddings_by_their_cosine(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> None:
    found = embedding_similarity(a, b)
    if not (a.any() and b.any()):
        assert math.isnan(found)
        return
    x, y = (each.astype(np.longdouble) for each in (a, b))
    cosine = float(x @ y / np.sqrt((x @ x) * (y @ y)))
    assert found == pytest.approx(max(0.0, cosine), abs=1e-9)
    assert found == pytest.approx(embedding_similarity(b, a), abs=1e-12)
    assert embedding_similarity(a, a) == pytest.approx(1.0)
    assert embedding_similarity(a, -a) == 0.0


def test_embeddings_of_other_shapes_are_refused() -> None:
    for pair in ((np.ones(3), np.ones(4)), (np.ones((1, 3)), np.ones((1, 3)))):
        with pytest.raises(ValueError, match="embeddings are two"):
            embedding_similarity(*pair)
