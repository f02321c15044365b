"""A run of three words stumbles where it is neither known nor likely."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuner.tasks.shoe_qa.fluency import SURPRISING, Fluency, Piece

LIKELY, ODD = SURPRISING - 1, SURPRISING + 1


def letters(text: str, *nats: float) -> list[Piece]:
    """A token for each character; the last value stands for all that follow."""
    return [Piece(at, at + 1, nats[min(at, len(nats) - 1)]) for at in range(len(text))]


@pytest.fixture
def fluency() -> Fluency:
    return Fluency(["鞋子要通風。", "Dry the SHOES in moving air."])


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("鞋子要通風", 0.0),
        ("鞋子要乾淨", 2 / 3),  # the first of three runs is known
        ("乾淨的皮革", 1.0),
        ("，鞋子，要通。", 0.0),  # signs are no words
        ("dry The shoes", 0.0),
        ("鞋子", 0.0),  # too short for a run
        ("", 0.0),
    ],
)
def test_what_is_odd_stumbles_unless_it_is_known(fluency: Fluency, text: str, share: float) -> None:
    assert fluency.stumbles(text, letters(text, ODD)) == pytest.approx(share)


def test_what_is_likely_does_not_stumble(fluency: Fluency) -> None:
    assert fluency.stumbles("乾淨的皮革", letters("乾淨的皮革", LIKELY)) == 0.0


def test_a_run_is_judged_by_the_mean_of_its_own_tokens(fluency: Fluency) -> None:
    # of five characters the first is very odd: the run that it stands in is, the two others are not
    assert fluency.stumbles("乾淨的皮革", letters("乾淨的皮革", 10.0, 1.0)) == pytest.approx(1 / 3)
    # two words in one token, and a sign between words that belongs to their run
    assert fluency.stumbles("乾淨，的", [Piece(0, 2, 1.0), Piece(2, 3, 9.0), Piece(3, 4, 1.0)]) == 1.0
    assert fluency.stumbles("乾淨，的", [Piece(0, 2, 1.0), Piece(2, 3, 6.0), Piece(3, 4, 1.0)]) == 0.0


def test_a_run_of_which_no_token_is_known_does_not_stumble(fluency: Fluency) -> None:
    assert fluency.stumbles("乾淨的皮革", []) == 0.0


@given(st.text("鞋子要通風乾淨 ,a", max_size=20), st.text("鞋子要通風乾淨 ,a", max_size=20))
def test_a_known_text_never_stumbles(text: str, other: str) -> None:
    assert Fluency([other, text]).stumbles(text, letters(text, ODD)) == 0.0
    assert 0 <= Fluency([other]).stumbles(text, letters(text, ODD)) <= 1
