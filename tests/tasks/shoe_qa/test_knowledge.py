"""The shipped rows: all categories and levels, both languages, nothing in two splits, key facts in their answers."""

from __future__ import annotations

import json
import re
from collections import Counter
from itertools import product

import pytest

from tuner.bases.shoe_chat import corpus
from tuner.data.chat import ChatRow, ChatSplits
from tuner.data.chat_findings import missing_facts
from tuner.data.chat_row import sameness
from tuner.data.chinese import chinese_script
from tuner.data.classification import identity
from tuner.data.validate_chat import validate_chats
from tuner.tasks.shoe_qa.knowledge import CATEGORIES, FOLDER, embedded_splits, known_texts

LEVELS = ("knowledge", "diagnosis", "treatment")


@pytest.fixture(scope="module")
def splits() -> ChatSplits:
    return embedded_splits()


def everything(splits: ChatSplits) -> list[ChatRow]:
    return [row for rows in splits.named().values() for row in rows]


def test_every_category_and_level_is_learned_and_measured(splits: ChatSplits) -> None:
    assert (len(CATEGORIES), len(LEVELS)) == (10, 3)
    for rows in splits.named().values():
        assert {(row.category, row.level) for row in rows} == set(product(CATEGORIES, LEVELS))


def test_there_is_enough_to_learn(splits: ChatSplits) -> None:
    assert len(everything(splits)) >= 600
    assert len(splits.train) > len(splits.test) > len(splits.validation) >= 60


def test_two_of_three_rows_are_chinese(splits: ChatSplits) -> None:
    for rows in splits.named().values():
        languages = Counter(row.language for row in rows)
        assert languages.keys() == {"zh", "en"}
        assert 0.6 <= languages["zh"] / len(rows) <= 0.73
    for row in everything(splits):
        assert row.language in ("zh", "en")


def test_no_question_stands_in_two_splits(splits: ChatSplits) -> None:
    named = {name: {key for row in rows for key in sameness(row)} for name, rows in splits.named().items()}
    questions = {name: {identity(row.question) for row in rows} for name, rows in splits.named().items()}
    for one, other in (("train", "validation"), ("train", "test"), ("validation", "test")):
        assert named[one] & named[other] == set()
        assert questions[one] & questions[other] == set()


def test_what_is_asked_can_have_been_learned() -> None:
    lines = {
        name: [json.loads(line) for line in (FOLDER / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]
        for name in ("train", "validation", "test")
    }
    taught = {(line["fact"], line["language"]) for line in lines["train"]}
    for name in ("validation", "test"):
        assert {(line["fact"], line["language"]) for line in lines[name]} - taught == set()


def test_a_kind_is_what_the_question_looks_like() -> None:
    lines = [json.loads(line) for path in FOLDER.glob("*.jsonl") for line in path.read_text("utf-8").splitlines()]
    assert {line["kind"] for line in lines} == {"paraphrase", "keywords", "situation"}
    for line in lines:
        is_search = line["language"] == "zh" and not set("？?。！") & set(line["question"])
        assert (line["kind"] == "keywords") == is_search, line["question"]
        if line["kind"] == "paraphrase":
            assert not re.search(r"(。|[.!] )(?=.)", line["question"]), "a story before the question"


def test_key_facts_stand_in_their_answers(splits: ChatSplits) -> None:
    assert [row.where for row in everything(splits) if not row.key_facts or missing_facts(row)] == []


def test_chinese_is_traditional(splits: ChatSplits) -> None:
    texts = [text for row in everything(splits) for text in (row.question, row.answer, *row.key_facts)]
    assert {character for text in texts for character in text if chinese_script(character) == "simplified"} == set()


def test_validation_finds_nothing(splits: ChatSplits) -> None:
    report = validate_chats(splits, CATEGORIES)
    assert (report.problems, report.warnings) == ((), ())
    assert all(not any(found.values()) for found in report.counts.values())


def test_a_row_says_where_it_stands(splits: ChatSplits) -> None:
    assert splits.test[4].where == "test.jsonl line 5"
    assert splits.notes == ()


def test_known_texts_are_the_corpus_and_the_rows(splits: ChatSplits) -> None:
    rows = splits.train[:2]
    found = list(known_texts(rows))
    assert found[-4:] == [text for row in rows for text in (row.question, row.answer)]
    assert found[:-4] == list(corpus.texts(corpus.read()))
    assert len(found) > 1000
