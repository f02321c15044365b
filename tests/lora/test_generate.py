"""What a pack writes: the base as transformers' own `generate` writes, and every adapter as it writes alone."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.lora.causal import KINDS, RANKS, VOCABULARY, Packed, some_rows
from tuner.lora import generate as module
from tuner.lora.decoder import KeyValues
from tuner.lora.generate import Written, generate

LENGTHS = (7, 1, 40, 33, 2)
NEW = 12
SLOTS = range(len(RANKS))


@pytest.fixture(scope="module")
def llama() -> Packed:
    """Read only: no test here trains."""
    return Packed("llama")


def write(
    packed: Packed, slots: Sequence[int], rows: Sequence[Sequence[int]], stop: Collection[int], limit: int = NEW
) -> list[list[Written]]:
    return generate(packed.decoder, packed.context, packed.pack(slots), rows, limit, stop)


def told(written: Sequence[Written]) -> list[tuple[tuple[int, ...], bool]]:
    """All but the time."""
    return [(text.tokens, text.ended) for text in written]


def cut(text: Sequence[int], stop: Collection[int]) -> tuple[tuple[int, ...], bool]:
    """What is left of a text that goes on, where these tokens end it."""
    end = next((place for place, token in enumerate(text) if token in stop), None)
    return tuple(text[:end]), end is not None


def stops_that_occur(texts: Sequence[Written]) -> set[int]:
    """Tokens that end the texts at different steps, and leave one to go on."""
    candidates = sorted({token for text in texts for token in text.tokens})
    pairs = [{a, b} for a in candidates for b in candidates]

    def ends(stop: set[int]) -> tuple[int, int]:
        lengths = [len(cut(text.tokens, stop)[0]) for text in texts]
        return NEW in lengths, len(set(lengths))

    return max(pairs, key=ends)


@pytest.mark.parametrize("kind", KINDS)
def test_the_base_alone_writes_what_transformers_writes(kind: str) -> None:
    packed = Packed(kind)
    rows = some_rows(LENGTHS)
    (free,) = write(packed, [], rows, [])
    stop = stops_that_occur(free)
    (found,) = write(packed, [], rows, stop)
    assert {text.ended for text in found} == {True, False}
    for row, text in zip(rows, found, strict=True):
        ids = torch.tensor([row])
        options = {"max_new_tokens": NEW, "do_sample": False, "eos_token_id": sorted(stop), "pad_token_id": 0}
        theirs = packed.plain.generate(ids, attention_mask=torch.ones_like(ids), **options)[0, len(row) :].tolist()
        assert (text.tokens, text.ended) == cut(theirs, stop)


@pytest.mark.parametrize("kind", KINDS)
def test_a_pack_writes_what_each_adapter_writes_alone(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    packed = Packed(kind)
    rows = some_rows(LENGTHS)
    alone = [write(packed, [slot], rows, [])[0] for slot in SLOTS]
    assert len({text.tokens for texts in [*alone, write(packed, [], rows, [])[0]] for text in texts}) > len(rows)
    stop = stops_that_occur([text for texts in alone for text in texts])
    sizes: list[int] = []
    keep = KeyValues.keep
    monkeypatch.setattr(KeyValues, "keep", lambda cache, kept: (sizes.append(len(kept)), keep(cache, kept))[1])
    together = write(packed, list(SLOTS), rows, stop)
    assert sizes  # texts that had ended left the cache on the way, a quarter of it at once or more
    assert all(after <= 0.75 * before for before, after in pairwise([len(SLOTS) * len(rows), *sizes]))
    for texts, free in zip(together, alone, strict=True):
        assert told(texts) == [cut(text.tokens, stop) for text in free]


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.integers(1, 35), min_size=1, max_size=6),
    st.integers(0, 99),
    st.sets(st.integers(0, VOCABULARY - 1), max_size=30),
    st.permutations(SLOTS),
    st.integers(0, len(RANKS)),
    st.integers(1, 8),
)
def test_company_length_and_stops_change_nothing_before_the_end(
    llama: Packed, lengths: list[int], seed: int, stop: set[int], order: list[int], members: int, limit: int
) -> None:
    """Each text is the one that its adapter writes after this prompt alone with nothing to stop it, cut."""
    rows, slots = some_rows(lengths, seed), order[:members]
    found = write(llama, slots, rows, stop, limit)
    assert len(found) == max(members, 1)
    for number, texts in enumerate(found):
        for row, text in zip(rows, texts, strict=True):
            ((free,),) = write(llama, slots[number : number + 1], [row], [], limit)
            assert len(free.tokens) == limit
            assert not free.ended
            assert (text.tokens, text.ended) == cut(free.tokens, stop)


def test_many_prompts_are_written_in_batches_and_come_back_in_their_order(
    llama: Packed, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = some_rows((3, 30, 1, 8, 40, 2, 5))
    expected = write(llama, [0, 2], rows, [5])
    batches: list[int] = []
    start = KeyValues.__init__

    def watched(cache: KeyValues, lengths: Sequence[int], room: int, device: torch.device) -> None:
        batches.append(len(lengths))
        start(cache, lengths, room, device)

    monkeypatch.setattr(KeyValues, "__init__", watched)
    monkeypatch.setattr(module, "TEXTS", 5)  # two prompts of two adapters
    assert list(map(told, write(llama, [0, 2], rows, [5]))) == list(map(told, expected))
    assert batches == [4, 4, 4, 2]
    batches.clear()
    monkeypatch.setattr(module, "TEXTS", 1)  # fewer than adapters: still one prompt at a time
    assert list(map(told, write(llama, [0, 2], rows, [5]))) == list(map(told, expected))
    assert batches == [2] * len(rows)


def test_a_stop_at_once_and_one_at_the_last_token(llama: Packed) -> None:
    rows = some_rows((4,))
    ((free,),) = write(llama, [1], rows, [])
    ((at_once,),) = write(llama, [1], rows, {free.tokens[0]})
    assert (at_once.tokens, at_once.ended) == ((), True)
    new = [place for place, token in enumerate(free.tokens) if token not in free.tokens[:place]]
    last = new[-1]
    ((ended,),) = write(llama, [1], rows, {free.tokens[last]}, last + 1)
    assert (ended.tokens, ended.ended) == (free.tokens[:last], True)
    ((unended,),) = write(llama, [1], rows, {free.tokens[last]}, last)
    assert (unended.tokens, unended.ended) == (free.tokens[:last], False)


def test_no_prompts_no_texts(llama: Packed) -> None:
    assert write(llama, [0, 1], [], []) == [[], []]


def test_a_text_that_ends_sooner_took_less_time(llama: Packed) -> None:
    (texts,) = write(llama, [0], some_rows(LENGTHS), range(30))
    assert {text.ended for text in texts} == {True, False}
    by_length = sorted(texts, key=lambda text: (len(text.tokens), not text.ended))
    seconds = [text.seconds for text in by_length]
    assert seconds[0] > 0
    assert seconds == sorted(seconds)


def test_an_adapter_of_nan_leaves_the_others_alone() -> None:
    packed = Packed("llama")
    rows = some_rows(LENGTHS)
    expected = write(packed, [0, 1, 2], rows, [5])
    packed.store.average[1] = torch.nan
    found = write(packed, [0, 1, 2], rows, [5])
    assert told(found[0]) == told(expected[0])
    assert told(found[2]) == told(expected[2])


def test_the_pack_is_gone_afterwards_also_when_it_fails(llama: Packed) -> None:
    write(llama, [0], some_rows((3,)), [])
    assert llama.context.pack is None
    with pytest.raises(IndexError):
        write(llama, [0], [[VOCABULARY]], [])
    assert llama.context.pack is None
