"""What a row is asked, in which language, and when two rows are the same."""

from __future__ import annotations

from tuner.data.chat_row import ChatRow, Turn, asked, sameness


def test_what_is_asked_and_in_which_language() -> None:
    row = ChatRow((Turn("user", "a"), Turn("assistant", "b"), Turn("user", "鞋子發霉")), "ok")
    assert (row.question, row.language) == ("鞋子發霉", "zh")


def test_a_follow_up_is_the_same_question_only_after_the_same_questions() -> None:
    one = ChatRow((Turn("user", "Leather?"), Turn("assistant", "Yes."), Turn("user", "Why?")), "It is warm.")
    two = ChatRow((Turn("user", "Suede?"), Turn("assistant", "No."), Turn("user", "WHY? ")), "It is rough.")
    assert not sameness(one) & sameness(two)
    alone = ChatRow((Turn("user", "why?"),), "It is  warm.")
    assert sameness(one) & sameness(alone)
    assert asked(two) == ("suede?", "why?")
    assert sameness(ChatRow((Turn("user", " "),), "x")) == frozenset()
