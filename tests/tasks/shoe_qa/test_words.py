"""Texts that a reader takes for the same have one normal form, and their words are what can be counted."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuner.tasks.shoe_qa.words import is_chinese, normal, spans, squeezed, words

# all that the rules look at, so that they meet in every order
SIGNS = "0159 .,-\u2013\u2014\u2212~〜\uff5e至到%\uff05℃°度cCtoper cent percent degrees celsius 攝氏度\n\t　ÅǰßΐİK①霉"


@pytest.mark.parametrize(
    "text",
    [
        "70-90%",
        "\uff17\uff10\uff0d\uff19\uff10\uff05",
        "70\u201390%",
        "70~90 %",
        "70〜90%",
        "70 to 90 percent",
        "70至90%",
    ],
)
def test_a_range_has_one_form_whatever_signs_it_is_written_in(text: str) -> None:
    assert normal(text) == "70-90%"


@pytest.mark.parametrize("text", ["5%", "5 %", "5\uff05", "5 percent", "5 per cent", "5 Per  Cent"])
def test_percent(text: str) -> None:
    assert normal(text) == "5%"


@pytest.mark.parametrize("text", ["20°C", "20 ℃", "20 ° c", "20 degrees C", "20 degrees Celsius", "20攝氏度"])
def test_degrees(text: str) -> None:
    assert normal(text) == "20°c"


def test_ranges_with_a_sign_at_either_end() -> None:
    assert normal("20°C 到 30°C") == "20°c-30°c"
    assert normal("20度至30度") == "20度-30度"
    assert normal("60% \u2013 70%") == "60%-70%"


def test_dashes_and_words_for_to_elsewhere_stay() -> None:
    assert normal("a well-known way to 5 shoes") == "a well-known way to 5 shoes"
    assert normal("一直到今天") == "一直到今天"


def test_words_are_characters_runs_of_letters_and_numbers() -> None:
    assert words("黴菌在相對濕度70-90%，會 Grow！") == [*"黴菌在相對濕度", "70", "90", "會", "grow"]
    assert words("1.5 公分, 1,200 spores_2") == ["1.5", "公", "分", "1200", "spores", "2"]
    assert words(" 。!? ") == []


def test_chinese_characters() -> None:
    assert [is_chinese(word) for word in ("霉", "mold", "70")] == [True, False, False]


def test_terms_are_looked_for_without_spaces() -> None:
    assert squeezed("15 \u2013 20 公分") == squeezed("15-20公分") == "15-20公分"


def test_spans_say_where_words_stand() -> None:
    text = "Dry 鞋, 70-90%"
    assert spans(text) == [("dry", 0, 3), ("鞋", 4, 5), ("70", 7, 9), ("90", 10, 12)]


@given(st.one_of(st.text(), st.text(SIGNS)))
def test_spans_are_in_order_and_hold_their_words(text: str) -> None:
    found = spans(text)
    assert all(word == text[start:end].casefold() and start < end for word, start, end in found)
    assert [start for _, start, _ in found] == sorted({start for _, start, _ in found})


@given(st.one_of(st.text(), st.text(SIGNS)))
def test_the_normal_form_is_its_own(text: str) -> None:
    assert normal(normal(text)) == normal(text)


@given(st.text(SIGNS))
def test_words_are_those_of_the_normal_form(text: str) -> None:
    assert words(normal(text)) == words(text)
