"""Tests of tuner/tasks/fashion/features.py: the vocabulary, and features found from toy embeddings."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tuner.bases.garments.captions import PLACES
from tuner.bases.garments.palette import COLOURS
from tuner.bases.garments.styles import STYLES
from tuner.tasks.fashion import categories
from tuner.tasks.fashion.categories import BASIC, DETAILED
from tuner.tasks.fashion.features import GROUPS, NEUTRAL, PROMPTS, VOCABULARY, Feature, find_features
from tuner.tasks.fashion.similarity import category_probabilities

SETTINGS = settings(deadline=None, derandomize=True, max_examples=80)
WORDS = [(group, word) for group, words in VOCABULARY.items() for word in words]
TEXTS = np.eye(len(PROMPTS))
THRESHOLDS = st.floats(0.01, 0.99)


def picture(**weights: float) -> np.ndarray[Any, Any]:
    """An embedding that leans to words, written `category__dress=1.0` with "_" for what is no letter: (1, V)."""
    found = np.zeros((1, len(PROMPTS)))
    for name, weight in weights.items():
        group, word = (part.replace("_", " ") for part in name.split("__"))
        found[0, WORDS.index((group, word))] = weight
    return found


def random_embeddings(seed: int, pictures: int = 3) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(pictures, 6)), rng.normal(size=(len(PROMPTS), 6))


def words(features: tuple[Feature, ...]) -> list[tuple[str, str]]:
    return [(each.group, each.word) for each in features]


def test_the_vocabulary_asks_for_all_that_the_drawn_pictures_show() -> None:
    assert tuple(VOCABULARY["basic category"]) == BASIC
    assert tuple(VOCABULARY["category"]) == DETAILED
    assert PROMPTS[:16] == categories.PROMPTS, "their embeddings are those of the similarity of categories"
    assert set(VOCABULARY["style"]) > set(STYLES)
    assert set(VOCABULARY["colour"]) > set(COLOURS)
    assert set(VOCABULARY["background"]) > set(PLACES)
    for style in STYLES.values():
        assert set(style.colours) <= set(VOCABULARY["colour"])
        assert set(style.patterns.values()) <= set(VOCABULARY["pattern"])
    assert GROUPS == ("category", "style", "colour", "pattern", "background")


def test_every_word_has_a_prompt_that_says_it() -> None:
    assert len(PROMPTS) == len(WORDS)
    assert len(set(PROMPTS)) == len(PROMPTS) - 1, "a dress is asked for in the same words on both levels"
    for words_ in VOCABULARY.values():
        for word, prompt in words_.items():
            assert word in prompt or word == "pink bokeh"
    assert VOCABULARY["colour"]["red"] == "a photo of something red"
    assert VOCABULARY["pattern"]["lace"] == "clothing with lace"
    assert VOCABULARY["background"]["wooden floor"] == "a photo of clothing on a wooden floor"


def test_the_surest_word_of_each_group_is_found() -> None:
    image = picture(category__coat=1.0, style__denim=0.9, colour__indigo=1.1, background__light_linen=0.8)
    found = find_features(image, TEXTS, 40.0)
    assert words(found[0]) == [
        ("colour", "indigo"),
        ("category", "coat"),
        ("style", "denim"),
        ("background", "light linen"),
    ]


def test_confidence_is_a_softmax_within_the_group() -> None:
    images, texts = random_embeddings(1)
    found = find_features(images, texts, 2.0, threshold=0.001, most=1000)
    cosines = (images / np.linalg.norm(images, axis=1)[:, None]) @ (texts / np.linalg.norm(texts, axis=1)[:, None]).T
    for row, features in zip(cosines, found, strict=True):
        for each in features:
            rivals = [row[at] for at, (group, _) in enumerate(WORDS) if group == each.group]
            if each.group != "category":
                at = WORDS.index((each.group, each.word))
                assert each.confidence == pytest.approx(math.exp(2 * row[at]) / sum(math.exp(2 * r) for r in rivals))
    levels = category_probabilities(images, texts[:16], 2.0)
    for probabilities, features in zip(levels, found, strict=True):
        category = next(each for each in features if each.group == "category")
        assert category.confidence == pytest.approx(probabilities[6:].max())
    longer = find_features(1e6 * images, 1e-6 * texts, 2.0, threshold=0.001, most=1000)
    assert [words(each) for each in longer] == [words(each) for each in found], "directions alone count"


def test_several_words_of_a_group_may_be_sure_enough() -> None:
    image = picture(category__shirt=1.0, colour__red=0.7, colour__white=0.69)
    assert words(find_features(image, TEXTS, 50.0)[0])[1:] == [("colour", "red"), ("colour", "white")]
    assert words(find_features(image, TEXTS, 50.0, threshold=0.6)[0]) == [("category", "shirt")]


def test_a_detailed_category_is_preferred_where_it_is_sure() -> None:
    image = picture(basic_category__accessory=1.0, category__bag=0.6, category__hat=0.55)
    bag = find_features(image, TEXTS, 10.0, threshold=0.3)[0]
    assert words(bag) == [("category", "bag")]
    unsure = find_features(image, TEXTS, 10.0, threshold=0.9)[0]
    assert words(unsure) == [("category", "accessory")], "the basic one stands in"
    assert find_features(picture(category__bag=1.0), TEXTS, 1.0, threshold=0.9)[0][0].confidence < 0.9


def test_the_category_stays_among_the_most() -> None:
    image = picture(category__bag=0.1, colour__red=2.0, style__denim=2.0, pattern__lace=2.0)
    assert words(find_features(image, TEXTS, 30.0, most=1)[0]) == [("category", "bag")]
    assert words(find_features(image, TEXTS, 30.0, most=2)[0]) == [("style", "denim"), ("category", "bag")]
    assert len(find_features(image, TEXTS, 30.0, most=4)[0]) == 4


def test_no_style_is_no_feature() -> None:
    image = picture(category__bag=1.0, **{f"style__{NEUTRAL}": 1.0})
    assert words(find_features(image, TEXTS, 30.0)[0]) == [("category", "bag")]


def test_a_picture_without_direction_has_no_features() -> None:
    images = np.array([[1.0, 0.0], [0.0, 0.0], [math.nan, 1.0], [math.inf, 1.0]])
    assert [bool(each) for each in find_features(images, np.ones((len(PROMPTS), 2)), 1.0)] == [
        True,
        False,
        False,
        False,
    ]
    assert find_features(images[:0], np.ones((len(PROMPTS), 2)), 1.0) == []


@given(st.integers(0, 10**6), st.floats(0.1, 200), THRESHOLDS, THRESHOLDS, st.integers(1, 10))
@SETTINGS
def test_features_are_bounded_and_fewer_at_a_higher_threshold(
    seed: int, scale: float, one: float, other: float, most: int
) -> None:
    images, texts = random_embeddings(seed)
    low, high = sorted((one, other))
    many, few = (find_features(images, texts, scale, threshold=each, most=most) for each in (low, high))
    assert many == find_features(images, texts, scale, threshold=low, most=most)
    for more, less in zip(many, few, strict=True):
        assert 1 <= len(less) <= len(more) <= most
        assert {each for each in less if each.group != "category"} <= set(more)
        for features, threshold in ((more, low), (less, high)):
            assert [each.group for each in features].count("category") == 1
            assert all(each.confidence >= threshold for each in features if each.group != "category")
            confidences = [each.confidence for each in features]
            assert confidences == sorted(confidences, reverse=True)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"image_embeddings": np.ones(6)}, r"\(N, D\) and \(93, D\), not \(6,\)"),
        ({"image_embeddings": np.ones((2, 5))}, r"not \(2, 5\) and"),
        ({"text_embeddings": np.ones((92, 6))}, r"and \(92, 6\)"),
        ({"text_embeddings": np.zeros((93, 6))}, "the embedding of a prompt"),
        ({"scale": 0.0}, "positive and finite, not 0.0"),
        ({"scale": math.inf}, "positive and finite"),
        ({"threshold": 0.0}, "between 0 and 1 .* not 0.0"),
        ({"threshold": 1.0}, "between 0 and 1"),
        ({"most": 0}, "1 feature at least, not 0.3 and 0"),
    ],
)
def test_what_cannot_be_asked_is_refused(changes: dict[str, Any], says: str) -> None:
    images, texts = random_embeddings(2)
    asked: dict[str, Any] = {"image_embeddings": images, "text_embeddings": texts, "scale": 1.0, **changes}
    with pytest.raises(ValueError, match=says):
        find_features(**asked)


@pytest.mark.parametrize(
    ("group", "word", "confidence"),
    [
        ("category", "red", 0.5),
        ("basic category", "top", 0.5),
        ("taste", "red", 0.5),
        ("style", NEUTRAL, 0.5),
        ("colour", "red", 1.5),
        ("colour", "red", math.nan),
    ],
)
def test_no_other_feature_can_be_made(group: str, word: str, confidence: float) -> None:
    with pytest.raises(ValueError, match=r"no feature of the group|between 0 and 1"):
        Feature(group, word, confidence)
