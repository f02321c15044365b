"""BLEU and ROUGE agree with the libraries' own reading where that knows the language, and are right where it does
not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu import sentence_bleu

from tuner.tasks.shoe_qa.overlap import NAMES, overlaps

CHINESE = st.text("鞋黴菌濕乾燥風用酒精擦", min_size=1, max_size=24)
ENGLISH = st.lists(st.sampled_from(["mold", "grows", "in", "damp", "shoes", "dry", "air"]), min_size=1, max_size=16)
LATIN = RougeScorer(["rouge1", "rouge2", "rougeL"])


def one(answer: str, reference: str) -> dict[str, float]:
    (found,) = overlaps([answer], [reference])
    return found


@given(CHINESE, CHINESE)
def test_chinese_bleu_is_that_of_sacrebleu(answer: str, reference: str) -> None:
    expected = sentence_bleu(answer, [reference], tokenize="zh").score
    assert one(answer, reference)["predict_bleu-4"] == pytest.approx(expected)


@given(CHINESE, CHINESE)
def test_chinese_rouge_counts_characters(answer: str, reference: str) -> None:
    letters = str.maketrans("鞋黴菌濕乾燥風用酒精擦", "abcdefghijk")  # each character as a word that the library knows
    spelled = LATIN.score(*(" ".join(text.translate(letters)) for text in (reference, answer)))
    found = one(answer, reference)
    for name, own in zip(NAMES[1:], spelled.values(), strict=True):
        assert found[name] == pytest.approx(100 * own.fmeasure)


@given(ENGLISH, ENGLISH)
def test_english_is_that_of_the_libraries(answer: list[str], reference: list[str]) -> None:
    said, wanted = " ".join(answer), " ".join(reference)
    found = one(f"{said.capitalize()}.", f"{wanted.capitalize()}.")
    assert found["predict_bleu-4"] == pytest.approx(sentence_bleu(said, [wanted]).score)
    for name, own in zip(NAMES[1:], LATIN.score(wanted, said).values(), strict=True):
        assert found[name] == pytest.approx(100 * own.fmeasure)


@pytest.mark.parametrize("text", ["黴菌在濕度70-90%時長得最快。", "Dry the shoes for 24 hours.", "乾燥"])
def test_the_same_text_has_all(text: str) -> None:
    found = one(text, text)
    assert tuple(found) == NAMES
    assert found["predict_bleu-4"] == pytest.approx(100)
    assert found["predict_rouge-1"] == found["predict_rouge-l"] == 100
    assert found["predict_rouge-2"] == 100 * (len(text) > 2 or 1)


@pytest.mark.parametrize(("answer", "reference"), [("通風", "擦乾鞋面"), ("wet", "dry the shoes"), ("wet", "乾燥")])
def test_nothing_in_common_is_nothing(answer: str, reference: str) -> None:
    assert one(answer, reference) == dict.fromkeys(NAMES, 0.0)


@pytest.mark.parametrize(
    ("answer", "reference"), [("", "乾燥"), ("乾燥", ""), ("", ""), ("。！", "乾燥"), (" ", "dry")]
)
def test_an_empty_text_has_nothing(answer: str, reference: str) -> None:
    assert one(answer, reference) == dict.fromkeys(NAMES, 0.0)


def test_each_answer_is_compared_with_its_own_reference() -> None:
    assert overlaps(["a b", "c d"], ["a b", "x y"]) == [one("a b", "a b"), one("c d", "x y")]
    assert overlaps([], []) == []
