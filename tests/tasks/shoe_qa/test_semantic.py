"""Likeness of meaning: by characters for Chinese, by sentence embeddings for English, whatever the chunks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tuner.tasks.shoe_qa import semantic as module
from tuner.tasks.shoe_qa.semantic import Semantics, by_characters

CPU = torch.device("cpu")
TEXTS = st.text("鞋黴菌濕乾燥風用 ab7。", max_size=12)
ANSWERS = [
    "Leave the shoes to dry in moving air.",
    "Let footwear dry where there is a breeze.",
    "Taxes are due in May.",
]


@pytest.fixture(scope="module")
def semantics() -> Semantics:
    return Semantics(CPU, torch.float32, encoder=True)


def beyond(cosine: float) -> float:
    """What is left of a likeness by characters without that of texts on one subject."""
    return (cosine - 0.05) / 0.95


def test_characters_by_hand() -> None:
    # one of two characters is shared; each text has 2 n-grams of one and 1 of two
    assert by_characters("乾燥", "乾淨") == pytest.approx(1 / 3)
    assert by_characters("濕濕", "濕") == pytest.approx(2 / 5**0.5)


@given(TEXTS, TEXTS)
def test_characters_are_symmetric_and_between_0_and_1(first: str, second: str) -> None:
    found = by_characters(first, second)
    assert found == pytest.approx(by_characters(second, first))
    assert 0 <= found <= 1 + 1e-9


@given(TEXTS)
def test_a_text_is_like_itself_and_nothing_is_like_nothing(text: str) -> None:
    said = bool(module.words(text))
    assert by_characters(text, text) == pytest.approx(float(said))
    assert by_characters(text, "") == 0.0


def test_chinese_texts_on_other_subjects_are_unlike() -> None:
    reference = "用酒精擦拭鞋面，再放在通風處晾乾。"
    (close, far) = Semantics(CPU, torch.float32, encoder=False).alike(
        ["鞋面用酒精擦，放通風處晾乾。", "股票明天可能下跌。"], [reference, reference]
    )
    assert close > 0.5 > 0.1 > far


def test_without_an_encoder_and_for_chinese_none_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("no encoder is needed")

    monkeypatch.setattr(module, "_Encoder", refuse)
    english = Semantics(CPU, torch.float32, encoder=False).alike(["dry shoes"], ["dry the shoes"])
    assert english == [beyond(by_characters("dry shoes", "dry the shoes"))]
    found = Semantics(CPU, torch.float32, encoder=True).alike(["乾燥", ""], ["乾淨", "Dry them."])
    assert found == [beyond(by_characters("乾燥", "乾淨")), 0.0]


@pytest.mark.slow
def test_english_texts_are_compared_by_meaning(semantics: Semantics) -> None:
    same, paraphrase, unrelated = semantics.alike([ANSWERS[0], ANSWERS[1], ANSWERS[2]], [ANSWERS[0]] * 3)
    assert same == pytest.approx(1)
    assert paraphrase > 0.3 > 0.05 > unrelated >= 0
    assert by_characters(ANSWERS[1], ANSWERS[0]) < paraphrase, "which its words do not show"


@pytest.mark.slow
def test_texts_that_share_their_subject_alone_are_hardly_alike(semantics: Semantics) -> None:
    subject, same = semantics.alike(["Mold is grey or green.", ANSWERS[0]], [ANSWERS[0]] * 2)
    assert subject < 0.1
    assert same <= 1


@pytest.mark.slow
def test_every_answer_has_its_own_place_among_the_languages(semantics: Semantics) -> None:
    answers = ["乾燥", ANSWERS[1], "", ANSWERS[2]]
    references = ["乾淨", ANSWERS[0], ANSWERS[0], "濕"]
    found = semantics.alike(answers, references)
    assert found[0] == pytest.approx(beyond(1 / 3))
    assert found[1] == pytest.approx(semantics.alike([ANSWERS[1]], [ANSWERS[0]])[0], abs=1e-5)
    assert found[2:] == [0.0, 0.0]


@pytest.mark.slow
@pytest.mark.parametrize("tokens", [1, 25, 10_000])
def test_the_encoder_does_not_depend_on_the_chunks(
    semantics: Semantics, tokens: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    semantics.alike(ANSWERS[:1], ANSWERS[:1])
    encoder: Any = semantics._loaded
    texts = [*ANSWERS, "Short.", " ".join(ANSWERS)]
    alone = torch.cat([encoder.embed([text]) for text in texts])
    monkeypatch.setattr(module, "TOKENS", tokens)
    torch.testing.assert_close(encoder.embed(texts), alone, rtol=0, atol=1e-5)
    assert alone.dtype == torch.float32


@pytest.mark.slow
def test_a_reference_is_embedded_once(semantics: Semantics, monkeypatch: pytest.MonkeyPatch) -> None:
    semantics.alike(ANSWERS[:1], ANSWERS[:1])
    encoder: Any = semantics._loaded
    embedded: list[str] = []
    real = encoder.embed

    def watched(texts: Sequence[str]) -> torch.Tensor:
        embedded.extend(texts)
        return real(texts)

    monkeypatch.setattr(encoder, "embed", watched)
    reference = "Never put them on a heater."
    for _ in range(2):
        semantics.alike(["Heat.", "A heater harms."], [reference, reference])
    assert embedded.count(reference) == 1
