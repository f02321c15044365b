"""Texts of unequal lengths that come and go, each where it is looked for."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.lora.causal import CPU, Packed, some_rows
from tuner.lora.ragged import Ragged
from tuner.lora.slots import Slots, padded


@pytest.fixture(scope="module")
def llama() -> Packed:
    """Read only."""
    return Packed("llama")


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_tokens_read_one_by_one_in_changing_company_are_those_read_at_once(llama: Packed, data: st.DataObject) -> None:
    cache = Slots(CPU)
    texts: list[list[int]] = []  # by slot: the tokens read so far
    with torch.no_grad():
        for turn in range(8):
            coming = data.draw(st.lists(st.integers(1, 40), max_size=0 if len(texts) > 4 else 3))
            if coming:
                rows = some_rows(coming, turn)
                cache.join(coming, max(map(len, [*texts, *rows])) + 8, 6)
                ids = torch.tensor([token for row in rows for token in row])
                llama.decoder.hidden(ids, Ragged(coming, CPU), cache)
                cache.joined()
                texts += rows
            for _ in range(data.draw(st.integers(0, min(2, len(texts))))):
                slot = data.draw(st.integers(0, len(texts) - 1))
                cache.leave(slot)
                texts[slot] = texts[-1]
                texts.pop()
            assert len(cache) == len(texts)
            if not texts:
                continue
            order = data.draw(st.permutations(range(len(texts))))
            cache.arrange(order)
            assert cache.lengths.tolist() == [len(texts[slot]) for slot in order]
            for slot, (token,) in enumerate(some_rows([1] * len(texts), 50 + turn)):
                texts[slot].append(token)
            hidden = llama.decoder.step(torch.tensor([texts[slot][-1] for slot in order]), cache)
            for row, slot in zip(hidden, order, strict=True):
                whole = llama.decoder.hidden(torch.tensor(texts[slot]), Ragged([len(texts[slot])], CPU))
                torch.testing.assert_close(row, whole[-1], rtol=0, atol=1e-5)


def test_nothing_is_left_of_who_was_there() -> None:
    cache = Slots(CPU)
    lengths = [5, 40, 7]
    cache.join(lengths, 48, 4)
    key = torch.full((52, 2, 4), torch.nan)
    cache.fill(0, key, key, Ragged(lengths, CPU))
    cache.joined()
    for slot in (0, 1, 0):
        cache.leave(slot)
    assert len(cache) == 0
    assert all(not held.any() for held in cache._layers[0])


def test_memory_grows_by_what_may_be_and_never_above_the_slots_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    cache = Slots(CPU)

    def join(lengths: list[int], columns: int, slots: int) -> tuple[Any, ...]:
        cache.join(lengths, columns, slots)
        key = torch.ones(sum(lengths), 2, 4)
        cache.fill(0, key, key, Ragged(lengths, CPU))
        cache.joined()
        return tuple(cache._layers[0][0].shape)

    assert join([3], 10, 8) == (2, 2, 32, 4)
    assert join([3], 32, 8) == (2, 2, 32, 4)
    assert join([3], 33, 4) == (4, 2, 64, 4)
    assert join([3, 3], 20, 5) == (5, 2, 32, 4), "long texts have left: their room serves more of the short ones"
    assert padded(32) == 32
