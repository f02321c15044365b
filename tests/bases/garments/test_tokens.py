"""The tokenizer of the picture models: every text has tokens, captions are read whole, others open what is saved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tuner.bases.garments import tokens
from tuner.bases.garments.captions import FORMS, caption
from tuner.bases.garments.palette import COLOURS
from tuner.bases.garments.sample import general, styled
from tuner.bases.garments.styles import STYLES
from tuner.tasks.fashion.features import PROMPTS


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return tokens.train()


def read(tokenizer: Any, text: str) -> list[int]:
    found: list[int] = tokenizer(text).input_ids
    return found


def test_the_vocabulary_is_small_and_ends_with_the_end(tokenizer: Any) -> None:
    assert len(tokenizer) <= tokens.VOCABULARY
    assert tokenizer.convert_tokens_to_ids(tokens.END) == len(tokenizer) - 1, "open_clip looks for the highest number"
    assert tokenizer.eos_token == tokens.END
    assert tokenizer.bos_token == tokens.BEGIN
    assert tokenizer.model_max_length == tokens.LENGTH


@given(st.text(max_size=40).filter(lambda text: "<|" not in text))
@example("Ein Kleid, 12 € — 鞋子 🧥")
@example("")
@settings(deadline=None, max_examples=100)
def test_any_text_has_tokens_between_begin_and_end(tokenizer: Any, text: str) -> None:
    begin, *between, end = read(tokenizer, text)
    assert (begin, end) == (tokenizer.bos_token_id, tokenizer.eos_token_id)
    assert not set(between) & {begin, end}, "nothing is unknown"
    assert read(tokenizer, text.upper().lower()) == read(tokenizer, text.upper().lower().lower())


def test_unlike_texts_have_unlike_tokens(tokenizer: Any) -> None:
    for one, other in (("zebra", "zebro"), ("鞋", "靴"), ("a red hat", "a hat red"), ("12", "21")):
        assert read(tokenizer, one) != read(tokenizer, other)
    assert read(tokenizer, "A Red DRESS") == read(tokenizer, "a red  dress")


def test_words_of_captions_are_single_tokens(tokenizer: Any) -> None:
    for word in ("dress", "trousers", "striped", "floral", "background", *(c for c in COLOURS if " " not in c)):
        assert len(read(tokenizer, word)) == 3, word


def test_captions_are_read_whole(tokenizer: Any) -> None:
    looks = general(77, 60) + [look for style in STYLES for look in styled(style, 77, 15)]
    said = [caption(look, form) for look in looks for form in range(FORMS)]
    assert max(len(ids) for ids in tokenizer(said).input_ids) <= tokens.LENGTH
    padded = tokenizer(said[:3], padding="max_length", max_length=tokens.LENGTH).input_ids
    assert {len(ids) for ids in padded} == {tokens.LENGTH}


def test_training_texts_are_captions_of_all_wordings_and_styles() -> None:
    found = tokens.texts(3, 80)
    assert found == tokens.texts(3, 80)
    assert found != tokens.texts(4, 80)
    assert all(any(style in text for text in found) for style in STYLES)
    assert found[:FORMS] == [caption(look, form) for form, look in enumerate(general(3, 80)[:FORMS])]
    assert any("elegant" in text for text in found), "words of the field that no caption uses"


def test_others_open_what_is_saved(tokenizer: Any, tmp_path: Path) -> None:
    from open_clip.tokenizer import HFTokenizer
    from transformers import CLIPTokenizer

    tokens.save(tokenizer, tmp_path / "made")
    said = ["a red striped dress", "鞋子 and more", ""]
    wanted = tokenizer(said, padding="max_length", max_length=tokens.LENGTH).input_ids
    opened = CLIPTokenizer.from_pretrained(str(tmp_path / "made"))
    assert opened(said, padding="max_length", max_length=tokens.LENGTH).input_ids == wanted
    assert opened.model_max_length == tokens.LENGTH
    theirs = HFTokenizer(str(tmp_path / "made"), context_length=tokens.LENGTH)
    found = theirs(said)
    assert found.argmax(1).tolist() == [ids.index(tokenizer.eos_token_id) for ids in wanted]
    assert found.tolist() == wanted


@pytest.mark.slow
def test_captions_have_the_same_tokens_however_often_it_is_trained(tokenizer: Any) -> None:
    again = tokens.train()
    said = [*tokens.texts(5, 400), *PROMPTS]
    assert len(again) == len(tokenizer)
    assert again(said).input_ids == tokenizer(said).input_ids
