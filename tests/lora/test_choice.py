"""Which token comes next."""

from __future__ import annotations

import math
from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tuner.lora.choice import Chooser, choose
from tuner.lora.taste import Taste

LOGITS = torch.tensor([math.log(share) for share in (0.1, 0.4, 0.3, 0.2)])


def draws(taste: Taste, times: int = 2000) -> Counter[int | None]:
    chooser = Chooser(taste)
    return Counter(choose(LOGITS[None].clone(), [chooser])[0] for _ in range(times))


@pytest.mark.parametrize(
    ("taste", "shares"),
    [
        (Taste(1.0, seed=1), (0.1, 0.4, 0.3, 0.2)),
        (Taste(1.0, 0.69, seed=1), (0, 4 / 7, 3 / 7, 0)),
        (Taste(1.0, 0.71, seed=1), (0, 4 / 9, 3 / 9, 2 / 9)),
        (Taste(1.0, 0.0, seed=1), (0, 1, 0, 0)),
        (Taste(0.5, seed=1), (1 / 30, 16 / 30, 9 / 30, 4 / 30)),
        (Taste(1e-30, seed=1), (0, 1, 0, 0)),
        (Taste(0.0, 0.1, seed=1), (0, 1, 0, 0)),
    ],
)
def test_tokens_are_drawn_by_their_shares(taste: Taste, shares: tuple[float, ...]) -> None:
    found = draws(taste)
    for token, share in enumerate(shares):
        assert abs(found[token] / 2000 - share) < 0.05
        assert share > 0 or found[token] == 0


@given(
    st.lists(
        st.tuples(st.sampled_from([0.0, 0.3, 1.0, 2.0]), st.floats(0, 1), st.integers(-(2**63), 2**63 - 1)),
        min_size=1,
        max_size=6,
    ),
    st.integers(0, 99),
)
def test_company_changes_no_draw(tastes: list[tuple[float, float, int]], seed: int) -> None:
    logits = torch.randn(len(tastes), 40, generator=torch.Generator().manual_seed(seed)) * 3
    made = [Taste(temperature, top_p, chosen) for temperature, top_p, chosen in tastes]
    together = choose(logits.clone(), [Chooser(taste) for taste in made])
    assert together == [choose(row[None].clone(), [Chooser(taste)])[0] for row, taste in zip(logits, made, strict=True)]


def test_the_last_bit_of_a_logit_changes_no_draw() -> None:
    """As it may, by company and device; here two tokens are as good as equally likely."""
    logits = torch.tensor([[1.0, 2.0, 1.5, 2.0]])
    tastes = [Taste(1.0, 0.95, seed) for seed in range(300)]

    def drawn(changed: int) -> list[int | None]:
        other = logits.clone()
        other[0, changed] = other[0, changed].nextafter(torch.tensor(9.0))
        return [choose(other.clone(), [Chooser(taste)])[0] for taste in tastes]

    assert drawn(1) == drawn(3)
    assert set(drawn(1)) == {0, 1, 2, 3}


def test_without_a_seed_every_text_has_another() -> None:
    found = {
        tuple(choose(torch.zeros(1, 1000), [chooser])[0] for _ in range(3))
        for chooser in (Chooser(Taste(1.0)) for _ in range(5))
    }
    assert len(found) == 5


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_not_finite_gives_no_token_and_leaves_others(value: float, temperature: float) -> None:
    logits = torch.stack([LOGITS, LOGITS, LOGITS])
    logits[1, 2] = value
    assert choose(logits, [Chooser(Taste(temperature, 0.1, 1)) for _ in range(3)]) == [1, None, 1]


def test_penalties() -> None:
    once, often = Chooser(Taste(presence=0.5)), Chooser(Taste(frequency=0.2))
    found = [choose(torch.stack([LOGITS, LOGITS]), [once, often]) for _ in range(4)]
    assert [pair[0] for pair in found] == [1, 2, 1, 1], "once said, a token is 0.5 less likely, and no less later"
    logits = LOGITS.clone()
    expected = []
    for _ in range(4):
        token = int(logits.argmax())
        expected.append(token)
        logits[token] -= 0.2
    assert [pair[1] for pair in found] == expected
