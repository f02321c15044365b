"""The tokenizer of the embedded chat model: every text has tokens and comes back, characters and digits stay single."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import Tokenizer
from transformers import AutoTokenizer

from tuner.bases import shoe_chat
from tuner.bases.shoe_chat.tokens import ASSISTANT, BEGIN, END, PAD, SPECIAL, SYSTEM, USER, VOCABULARY, save, train

TEXTS = ["濕度60%以下，黴菌不長。", "Dry the shoes for 24 hours, then dry them again.", "鞋子 24 小時後乾了。"] * 3


@pytest.fixture(scope="module")
def small() -> Tokenizer:
    return train(TEXTS)


@pytest.fixture(scope="module")
def shipped() -> Tokenizer:
    return Tokenizer.from_file(str(shoe_chat.locate() / "tokenizer.json"))


def pieces(tokenizer: Tokenizer, text: str) -> list[str]:
    return list(tokenizer.encode(text, add_special_tokens=False).tokens)


@given(st.text())
@example("  two  spaces, a tab\t and\n\nlines ")
@example("e\u0301 👩‍🔬 \x00 <0x41> ﷽")
def test_any_text_comes_back(small: Tokenizer, shipped: Tokenizer, text: str) -> None:
    """Composed (NFC), and with a space where `▁` stood, the sign that means one."""
    for tokenizer in (small, shipped):
        found = tokenizer.encode(text, add_special_tokens=False).ids
        assert tokenizer.decode(found) == unicodedata.normalize("NFC", text).replace("▁", " ")


@pytest.mark.parametrize("text", ["濕度", "2024", "濕度60%", "第12雙鞋，共30元。"])
def test_chinese_characters_digits_and_signs_are_single(small: Tokenizer, shipped: Tokenizer, text: str) -> None:
    for tokenizer in (small, shipped):
        known = [letter for letter in text if tokenizer.token_to_id(letter) is not None]
        assert [piece for piece in pieces(tokenizer, text) if not piece.startswith("<0x")] == known
    assert pieces(shipped, text) == list(text)


def test_no_token_of_the_shipped_vocabulary_joins_them(shipped: Tokenizer) -> None:
    joined = [
        token
        for token in shipped.get_vocab(with_added_tokens=False)
        if len(token) > 1
        and token not in SPECIAL
        and not token.startswith("<0x")
        and any(letter.isdigit() or "\u3400" <= letter <= "\u9fff" for letter in token)
    ]
    assert joined == []


def test_words_are_learnt_with_the_space_before_them(small: Tokenizer) -> None:
    assert pieces(small, "Dry the shoes again") == ["Dry", "▁the", "▁shoes", "▁again"]


def test_special_tokens_come_first_then_bytes(small: Tokenizer) -> None:
    assert [small.id_to_token(number) for number in range(len(SPECIAL))] == [PAD, BEGIN, END, SYSTEM, USER, ASSISTANT]
    assert [small.id_to_token(len(SPECIAL) + value) for value in (0, 255)] == ["<0x00>", "<0xFF>"]
    found = small.encode(f"{BEGIN}{USER}Dry{END}", add_special_tokens=False)
    assert found.tokens == [BEGIN, USER, "Dry", END]
    assert small.decode(found.ids) == "Dry"


def test_the_same_texts_give_the_same_tokenizer(small: Tokenizer) -> None:
    assert train(iter(TEXTS)).to_str() == small.to_str()
    assert train(TEXTS[:1]).to_str() != small.to_str()


def test_the_vocabulary_has_a_limit(shipped: Tokenizer) -> None:
    assert shipped.get_vocab_size() == VOCABULARY
    assert set(shipped.get_vocab().values()) == set(range(VOCABULARY))


@pytest.mark.parametrize("text", ["", "鞋子乾了 ，ok", "  Dry\nthe shoes\t", "未知字 𠀀 é", f"{BEGIN}{USER}hi{END}"])
def test_transformers_opens_the_folder_and_reads_alike(small: Tokenizer, tmp_path: Path, text: str) -> None:
    save(small, tmp_path)
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    assert theirs(text, add_special_tokens=False)["input_ids"] == small.encode(text, add_special_tokens=False).ids
    assert theirs.decode(theirs(text)["input_ids"], skip_special_tokens=True) == small.decode(small.encode(text).ids)
    assert (theirs.bos_token, theirs.eos_token, theirs.pad_token) == (BEGIN, END, PAD)


def test_the_template_writes_turns_as_the_corpus_has_them(small: Tokenizer, tmp_path: Path) -> None:
    save(small, tmp_path)
    turns = [{"role": "user", "content": " Why? "}, {"role": "assistant", "content": "Wet."}]
    write = AutoTokenizer.from_pretrained(tmp_path).apply_chat_template
    assert write(turns, tokenize=False) == f"{BEGIN}{USER}Why?{END}{ASSISTANT}Wet.{END}"
    assert write(turns[:1], tokenize=False, add_generation_prompt=True) == f"{BEGIN}{USER}Why?{END}{ASSISTANT}"
