"""What validation of chats finds, what it only warns of, and what is left out before and after tokenising."""

from __future__ import annotations

import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuner.config import DataConfig
from tuner.data.chat import ChatRow, ChatSplits, Turn, load_chats
from tuner.data.validate_chat import clean_chats, validate_chats, without
from tuner.errors import DataError


def row(question: str, answer: str, where: str = "train line 99", **more: object) -> ChatRow:
    return ChatRow((Turn("user", question),), answer, where=where, **more)  # type: ignore[arg-type]


def fine(name: str, count: int = 10) -> tuple[ChatRow, ...]:
    return tuple(
        row(f"A {name} question {n}?", f"A good {name} answer {n}.", f"{name} line {n + 1}") for n in range(count)
    )


def splits(*extra: ChatRow) -> ChatSplits:
    return ChatSplits((*fine("train"), *extra), fine("validation"), fine("test"))


def test_good_data_gives_nothing_but_statistics() -> None:
    data = splits(row("鞋子?", "乾燥", category="care"))
    report = validate_chats(data)
    assert report.ok
    assert report.warnings == ()
    assert report.to_json()["splits"]["train"] == {
        "total_samples": 11,
        "languages": {"en": 10, "zh": 1},
        "categories": {"": 10, "care": 1},
        "mean_question_characters": 17.5,
        "mean_answer_characters": 20.2,
    }
    json.dumps(report.to_json(), allow_nan=False)
    assert clean_chats(data, report) == data


@pytest.mark.parametrize(
    ("finding", "bad"),
    [
        ("html", row("What is <b>this</b>?", "A tag.")),
        ("html", ChatRow((Turn("system", "<p>Be brief.</p>"), Turn("user", "Why?")), "So.", where="train line 99")),
        ("too_long", row("Why?", "word " * 801)),
        ("encoding", row("Where is the cafÃ©?", "There.")),
        ("control", row("Who rang?", "A bell\x07 rang.")),
        ("duplicates", row("A TRAIN  question 3?", "a good train answer 3.")),
        ("contradictions", row("A train question 3?", "Another answer.")),
        ("wrong_script", row("How do I dry shoes?", "把鞋子放在通風處")),
        ("key_facts", row("How damp?", "70 to 90 percent.", key_facts=("70-90%|70 to 90", "mold|mildew"))),
    ],
)
def test_findings_are_counted_named_and_kept(finding: str, bad: ChatRow) -> None:
    data = splits(bad)
    report = validate_chats(data)
    assert report.ok
    assert {name: found for name, found in report.counts.items() if found} == {finding: {"train": 1}}
    (warning,) = report.warnings
    assert warning.startswith("1 row (1 of train) ")
    assert "train line 99" in warning
    assert clean_chats(data, report) == data


@pytest.mark.parametrize(("question", "answer"), [("1 + 1?", "二"), ("鞋?", "70%"), ("Was ist das?", "Ein Schuh.")])
def test_what_is_no_other_script(question: str, answer: str) -> None:
    assert validate_chats(splits(row(question, answer))).counts["wrong_script"] == {}


def test_answers_in_the_other_chinese_are_named() -> None:
    traditional = [row(f"鞋{n}?", "這雙鞋應該晾乾", f"train line {n}") for n in range(3)]
    odd = row("鞋?", "这双鞋应该晾干", "train line 50")
    report = validate_chats(splits(*traditional, odd))
    assert report.counts["other_chinese"] == {"train": 1}
    assert report.warnings == (
        "1 row (1 of train) have an answer in Simplified Chinese, most others are Traditional: train line 50.",
    )
    reverse = validate_chats(splits(traditional[0], *(row(f"鞋{n}呢?", odd.answer) for n in range(3))))
    assert "in Traditional Chinese, most others are Simplified: train line 0" in reverse.warnings[0]


def test_unknown_categories_are_named_beside_the_known() -> None:
    data = splits(row("Q1", "A1", category="mould"), row("Q2", "A2", category="care"))
    assert "unknown_category" not in validate_chats(data).counts
    report = validate_chats(data, ("care", "basics"))
    assert report.counts["unknown_category"] == {"train": 1}
    assert "a category that is not known ('mould'; known are 'basics', 'care'): train line 99" in report.warnings[0]
    assert "unknown_category" not in validate_chats(data, ("basics", "use")).counts, "the data's own categories"


def test_empty_and_leaking_rows_are_left_out() -> None:
    data = ChatSplits(
        (
            *fine("train"),
            row(" ", "x"),
            row("Why not?", ""),
            row("A VALIDATION question 3?", "Other."),
            row("Open?", "Yes."),
        ),
        (*fine("validation"), row("a test question 5?", "y", "validation line 11")),
        (*fine("test"), row("Open?", " ", "test line 11")),
    )
    report = validate_chats(data)
    assert report.ok
    assert report.counts["empty_question"] == {"train": 1}
    assert report.counts["empty_answer"] == {"train": 1, "test": 1}
    assert report.counts["leaks"] == {"train": 1, "validation": 1}
    left = clean_chats(data, report)
    # a row without an answer holds nothing back
    assert left.train == (*fine("train"), data.train[-1])
    assert (left.validation, left.test) == (fine("validation"), fine("test"))
    assert report.statistics["train"].total_samples == 11


def test_all_problems_come_at_once() -> None:
    silent = tuple(row(question.question, "") for question in fine("test"))
    report = validate_chats(ChatSplits((*fine("train", 3), row("", "a")), (), silent))
    with pytest.raises(DataError) as caught:
        report.raise_problems()
    said = str(caught.value)
    assert "data.train rows = 3: a study needs at least 8 training rows, and 1 were left out as empty" in said
    assert "data.validation rows = 0: there are no rows left" in said
    assert "data.test answers = None: all 10 rows have no answer" in said
    assert len(report.problems) == 3


def test_what_tokenising_found_is_added_and_left_out() -> None:
    data = splits(row("", "x"))
    report = validate_chats(data)
    assert report.to_json()["unsupervised"] is None
    cut = report.with_truncated({"train": 3, "validation": 0, "test": 0}, {"train": [4, 1]}, 128)
    assert cut.ok
    assert "Rows longer than 128 tokens are cut short: 3 of train. Raise data.max_length" in cut.warnings[-2]
    assert "so that no answer is left, and are left out: train line 2, train line 5." in cut.warnings[-1]
    assert cut.to_json()["truncated"] == {"train": 3, "validation": 0, "test": 0}
    assert cut.to_json()["unsupervised"] == {"train": 2, "validation": 0, "test": 0}
    assert cut.unsupervised is not None
    left = without(clean_chats(data, cut), cut.unsupervised)
    assert left == cut.left
    assert cut.statistics["train"].total_samples == len(left.train) == 8
    assert report.with_truncated({"train": 0}, {}, 128).warnings == report.warnings


def test_a_split_that_tokenising_empties_is_a_problem() -> None:
    report = validate_chats(splits()).with_truncated({}, {"train": range(4), "test": range(10)}, 16)
    assert [problem.name for problem in report.problems] == ["data.train rows", "data.test rows"]
    assert "4 have no answer left within 16 tokens" in report.problems[0].rule
    assert "Raise data.max_length, or leave it out" in report.problems[1].cure
    before = validate_chats(ChatSplits(fine("train", 2), fine("validation"), fine("test")))
    assert before.with_truncated({}, {"train": [0]}, 16).problems == before.problems


texts = st.sampled_from(["", "a", " A", "b", "c", "d", "e"])
some_rows = st.lists(st.builds(row, texts, texts), max_size=12).map(tuple)


@given(st.builds(ChatSplits, some_rows, some_rows, some_rows))
def test_no_row_is_lost_and_no_question_stands_in_two_splits(data: ChatSplits) -> None:
    report = validate_chats(data)
    left = clean_chats(data, report)
    for split, rows in data.named().items():
        kept = left.named()[split]
        gone = [row for index, row in enumerate(rows) if index in report.drop[split]]
        assert len(kept) + len(gone) == len(rows)
        reasons = [report.counts[name].get(split, 0) for name in ("empty_question", "empty_answer", "leaks")]
        assert max(reasons) <= len(gone) <= sum(reasons)
        assert all(row.question.strip() and row.answer.strip() for row in kept)
        assert report.statistics[split].total_samples == len(kept)
    questions = [{row.question.strip().casefold() for row in rows} for rows in left.named().values()]
    assert sum(map(len, questions)) == len(set().union(*questions))
    assert left.test == tuple(row for row in data.test if row.question.strip() and row.answer.strip())


REAL = os.environ.get("TUNER_REALDATA")


@pytest.mark.skipif(not REAL, reason="TUNER_REALDATA does not name a folder with instruct/")
def test_alpaca_is_fit_to_learn_from() -> None:
    data = load_chats(DataConfig(source=f"{REAL}/instruct/alpaca_zh_demo.json"))
    report = validate_chats(data)
    assert report.ok
    assert sum(map(len, clean_chats(data, report).named().values())) == 1000
    assert sum(report.counts["other_chinese"].values()) == 1
    assert report.counts["leaks"] == report.counts["encoding"] == {}
