"""The four marks by examples that a reader can check by hand, and what holds of them for every answer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuner.tasks.shoe_qa.knowledge import embedded_splits
from tuner.tasks.shoe_qa.rubric import (
    MOST,
    Quantity,
    completeness,
    content,
    contradictions,
    key_data,
    quantities,
    readability,
    repeated,
    semantic,
)
from tuner.tasks.shoe_qa.words import words

HUMID = "濕度70-90%時黴菌長得最快，低於60%就幾乎不長。"
PIECES = ("70-90%", "60%", "20-30°C", "24小時", "15 cm", "通風", "酒精", "擦", "mold", "dry the shoe", "。", "，", " ")
TEXTS = st.one_of(st.text(max_size=40), st.lists(st.sampled_from(PIECES), max_size=12).map("".join))
FACTS = ("70-90%", "20-30°C|20-30度", "24小時", "通風", "酒精")
REFERENCE = "，".join(fact.split("|")[0] for fact in FACTS) + "。"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("濕度70-90%", [Quantity(70, 90, "%")]),
        ("從 90 到 70 趴", [Quantity(70, 90, "%")]),
        ("20\u201330 °C or 20度", [Quantity(20, 30, "°c"), Quantity(20, 20, "°c")]),
        ("曬 1.5 小時，等 24 hours", [Quantity(1.5, 1.5, "hour"), Quantity(24, 24, "hour")]),
        ("a 24-hour wait, 2 weeks, 3天", [Quantity(24, 24, "hour"), Quantity(2, 2, "week"), Quantity(3, 3, "day")]),
        ("5 grains of 7 shoes, room 12", []),
    ],
)
def test_numbers_with_their_units(text: str, found: list[Quantity]) -> None:
    assert quantities(text) == found


def test_content_leaves_out_function_words_and_endings() -> None:
    assert content("鞋要乾燥。") == (set("鞋乾燥"), {("鞋", "乾"), ("乾", "燥")})
    single, pairs = content("You should have brushed the sole, 2 days.")
    assert single == {"brush", "sol", "2", "day"}
    assert pairs == {("brush", "sol"), ("sol", "2"), ("2", "day")}
    assert content("的") == (set(), set())


@pytest.mark.parametrize(
    "forms", ["shoe shoes", "brush brushes brushed brushing", "remove removes removed removing", "glass glasses"]
)
def test_forms_of_a_word_are_one(forms: str) -> None:
    assert len(content(forms)[0]) == 1


def test_short_words_and_numbers_keep_their_endings() -> None:
    assert content("gas bus red wet es 20 7s 鞋s")[0] == {"gas", "bus", "red", "wet", "es", "20", "7", "s", "鞋"}


def test_completeness_is_the_share_of_the_references_content() -> None:
    # 4 of 6 characters, and 3 of 5 pairs; a tenth of what there is to gain is chance
    assert completeness("鞋櫃乾燥", "保持鞋櫃的乾燥") == pytest.approx(10 * ((4 / 6 + 3 / 5) / 2 - 0.1) / 0.9)
    # 2 of 4 words, 1 of 3 pairs
    assert completeness("Brushes and mold!", "Brush the mold outdoors, dry") == pytest.approx(
        10 * ((2 / 4 + 1 / 3) / 2 - 0.1) / 0.9
    )
    assert completeness("燥乾", "乾燥") == pytest.approx(10 * (1 / 2 - 0.1) / 0.9), "the order counts"
    assert completeness("鞋", "鞋") == 10.0, "one word has no pairs"
    assert completeness("完全不同", "保持鞋櫃") == 0.0
    assert completeness("", "保持鞋櫃") == 0.0


def test_an_empty_answer_has_nothing_even_where_the_reference_says_nothing() -> None:
    for reference in ("", "的", "It is not so."):
        assert completeness("", reference) == 0.0
        assert key_data(" ", reference, ()) == 0.0


def test_key_data_is_the_share_of_key_facts() -> None:
    facts = ("70-90%", "60%")
    assert key_data(HUMID, HUMID, facts) == 10.0
    assert key_data("濕度 70 \u2013 90 \uff05時長得快", HUMID, facts) == 5.0
    assert key_data("通風就好", HUMID, facts) == 0.0
    assert key_data("放 20-30 度的地方", "20-30°C", ("20-30°C|20-30度",)) == 10.0, "one of its wordings is enough"


def test_a_number_that_contradicts_halves() -> None:
    facts = ("70-90%", "60%")
    assert contradictions(HUMID + "40%也會長。", HUMID) == 1
    assert key_data(HUMID + "40%也會長。", HUMID, facts) == 5.0
    assert key_data(HUMID + "40%也會長，50%更快。", HUMID, facts) == 2.5
    assert key_data(HUMID + "40%也會長，就是40%。", HUMID, facts) == 5.0, "said twice it is the same"


@pytest.mark.parametrize("more", ["80%正好。", "75-85%正好。", "放24小時。", "有40雙鞋。"])
def test_a_number_within_the_references_or_of_another_kind_does_not(more: str) -> None:
    assert key_data(HUMID + more, HUMID, ("70-90%",)) == 10.0


def test_a_number_of_the_question_may_be_repeated() -> None:
    assert key_data("40%不會長，60%以下都不長。", HUMID, ("60%",), "40%會發霉嗎？") == 10.0
    assert key_data("40%不會長，60%以下都不長。", HUMID, ("60%",)) == 5.0


def test_without_key_facts_the_references_numbers_count_and_without_those_its_content() -> None:
    assert key_data("低於60%", HUMID, ()) == 5.0
    assert key_data("鞋櫃乾燥", "保持鞋櫃的乾燥", ()) == completeness("鞋櫃乾燥", "保持鞋櫃的乾燥")


def test_semantic_is_the_mean_of_likeness_and_shared_content() -> None:
    assert semantic("乾燥通風。", "乾燥通風。", 1.0) == 10.0
    # recall of 2 of 4 characters and 1 of 3 pairs, less chance; nothing said that is not in the reference
    recall = ((2 / 4 + 1 / 3) / 2 - 0.1) / 0.9
    assert semantic("乾燥。", "乾燥通風。", 0.7) == pytest.approx(10 * (0.7 + 2 * recall / (recall + 1)) / 2)
    assert semantic("乾燥通風。", "乾燥。", 0.7) == semantic("乾燥。", "乾燥通風。", 0.7), "more is as far as less"
    assert semantic("", "乾燥通風。", 0.7) == semantic("。", "乾燥通風。", 0.7) == 0.0
    assert semantic("皮革", "乾燥通風。", 0.0) == 0.0
    assert semantic("通風40%", "通風60%", 0.7) == semantic("通風40%", "通風60%", 0.7, "40%？") / 2


FINE = "把鞋子放在通風的地方晾乾。"


@pytest.mark.parametrize(
    ("answer", "reference", "stumbles", "mark"),
    [
        (FINE, FINE, 0.0, 10.0),
        (FINE, FINE, 0.25, 7.0),  # every fourth run
        (FINE, FINE, 0.5, 4.0),
        (FINE, FINE, 1.0, 4.0),
        (FINE[:-2], FINE, 0.0, 7.0),  # cut off
        ("Dry the shoes in moving air.", FINE, 0.0, 2.0),
        ("70%!", FINE, 0.0, 10.0),  # numbers have no language
        ("a b c d e a b c.", "Dry them.", 0.0, 10 - 8 * 2 / 6),  # one of six runs was there before
        ("濕濕濕濕濕濕濕濕濕濕", FINE, 1.0, 0.0),
        ("", FINE, 0.0, 0.0),
        ("。", FINE, 0.0, 0.0),
    ],
)
def test_readability(answer: str, reference: str, stumbles: float, mark: float) -> None:
    assert readability(answer, reference, stumbles) == pytest.approx(mark)


def test_repeated_is_a_share_of_runs_of_three() -> None:
    assert repeated(list("ab")) == 0.0
    assert repeated(list("abcde")) == 0.0
    assert repeated(["a"] * 12) == 0.9


def test_readability_falls_with_every_repetition() -> None:
    marks = [readability("鞋子要通風。" * times, FINE, 0.0) for times in (1, 2, 3)]
    assert marks[0] == 10 > marks[1] > marks[2]


@given(TEXTS, TEXTS, st.lists(TEXTS, max_size=4), TEXTS, st.floats(0, 1), st.floats(0, 1))
def test_every_mark_is_between_0_and_10(
    answer: str, reference: str, facts: list[str], question: str, alike: float, stumbles: float
) -> None:
    marks = (
        completeness(answer, reference),
        key_data(answer, reference, facts, question),
        semantic(answer, reference, alike, question),
        readability(answer, reference, stumbles),
    )
    assert all(0 <= mark <= MOST for mark in marks)


@given(TEXTS.filter(words))
def test_the_reference_itself_has_all_of_content_and_data(text: str) -> None:
    assert completeness(text, text) == MOST
    assert key_data(text, text, ()) == MOST
    assert key_data(text, text, [text]) == MOST
    assert contradictions(text, text) == 0


@given(st.sets(st.sampled_from(FACTS)), st.sampled_from(FACTS))
def test_a_key_fact_more_never_lowers(said: set[str], more: str) -> None:
    before = "，".join(["鞋子", *(fact.split("|")[-1] for fact in sorted(said))])
    after = f"{before}，{more.split('|')[-1]}"
    gained = key_data(after, REFERENCE, FACTS) - key_data(before, REFERENCE, FACTS)
    assert gained == pytest.approx(0 if more in said else MOST / len(FACTS))


@given(st.sets(st.sampled_from(FACTS), min_size=1), st.sampled_from(["95%", "10 %", "60-90%", "5度", "2 hours"]))
def test_a_contradicting_number_lowers(said: set[str], wrong: str) -> None:
    before = "，".join(fact.split("|")[0] for fact in sorted(said))
    assert key_data(f"{before}，{wrong}", REFERENCE, FACTS) == pytest.approx(key_data(before, REFERENCE, FACTS) / 2)


@given(TEXTS, st.integers(0, 20))
def test_more_of_the_reference_never_lowers_completeness(answer: str, length: int) -> None:
    # a space, since a piece could make another word of the answer's last one
    assert completeness(f"{answer} {HUMID[:length]}", HUMID) >= completeness(answer, HUMID) - 1e-9


def test_every_shipped_answer_is_right_by_itself() -> None:
    for rows in embedded_splits().named().values():
        for row in rows:
            assert completeness(row.answer, row.answer) == MOST, row
            assert key_data(row.answer, row.answer, row.key_facts, row.question) == MOST, row
            assert readability(row.answer, row.answer, 0.0) > 9, row  # some say three words twice


def test_a_key_fact_stands_with_its_numbers_whole_and_its_words_from_their_start() -> None:
    assert key_data("胎紋深2公釐就夠。", "胎紋少於2公釐就換。", ("2公釐",)) == 10.0
    assert key_data("胎紋深12公釐就夠。", "胎紋少於2公釐就換。", ("2公釐",)) == 0.0
    assert key_data("約 1,500-800 公里", "約 500-800 公里", ("500-800 公里",)) == 0.0
    assert key_data("it goes flat", "The foam goes flat.", ("flat",)) == 10.0
    assert key_data("it is inflated", "The foam goes flat.", ("flat",)) == 0.0
    assert key_data("by hydrolysis", "Hydrolysis does it.", ("hydroly",)) == 10.0


def test_every_number_in_the_shipped_key_facts_counts_whole() -> None:
    for row in embedded_splits().test:
        for fact in row.key_facts:
            if fact[0].isdigit() and "|" not in fact:
                wrong = row.answer.replace(fact, f"1{fact}")
                assert key_data(wrong, row.answer, row.key_facts, row.question) < MOST, (row, fact)


def test_a_reference_that_says_only_yes_or_no_is_met_by_itself_alone() -> None:
    assert completeness("You should not.", "You should not.") == MOST
    assert completeness("Bananas are yellow.", "You should not.") == 0.0
    assert completeness("不可以，絕對不行。", "可以。") == 0.0
