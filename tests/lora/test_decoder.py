"""Causal language models over ragged rows against each architecture's own forward, and packs of adapters against each
adapter alone and against PEFT's own layers."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM

from tests.lora.causal import CPU, KINDS, RANKS, SCALES, Packed, some_rows
from tuner.errors import BaseModelError
from tuner.lora.adapter import peft_names
from tuner.lora.decoder import KeyValues, RaggedDecoder
from tuner.lora.ragged import Ragged

LENGTHS = (1, 7, 40, 33, 2)
ROWS = {0: some_rows((9, 34), 3), 1: some_rows((5,), 4), 2: some_rows((40, 2, 3), 5)}  # what each adapter learns


def flat(rows: Sequence[Sequence[int]]) -> torch.Tensor:
    return torch.tensor([token for row in rows for token in row])


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_logits_of_every_token_are_the_models_own(kind: str, tied: bool) -> None:
    packed = Packed(kind, tied=tied)
    rows = some_rows(LENGTHS)
    with torch.no_grad():
        logits = packed.decoder.logits(packed.decoder.hidden(flat(rows), Ragged(LENGTHS, CPU)))
        expected = torch.cat([packed.plain(torch.tensor([row])).logits[0] for row in rows])
    assert expected.std() > 0.3  # random weights, yet not of one mind
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_tokens_read_one_by_one_are_those_read_at_once(kind: str) -> None:
    packed = Packed(kind)
    rows = some_rows((6, 39, 7))
    begun = [len(row) - 4 for row in rows]
    with torch.no_grad():
        whole = packed.decoder.hidden(flat(rows), Ragged([len(row) for row in rows], CPU))
        cache = KeyValues(begun, 4, CPU)
        first = [row[:count] for row, count in zip(rows, begun, strict=True)]
        packed.decoder.hidden(flat(first), Ragged(begun, CPU), cache)
        ends = torch.tensor([len(row) for row in rows]).cumsum(0)
        kept = [0, 1, 2]
        for step in range(4):
            if step == 2:  # the longest text leaves, and with it no other's place
                kept = [0, 2]
                cache.keep(torch.tensor(kept))
            ids = torch.tensor([rows[row][begun[row] + step] for row in kept])
            hidden = packed.decoder.step(ids, cache)
            torch.testing.assert_close(hidden, whole[ends[kept] - 4 + step], rtol=0, atol=1e-5)
    assert cache.lengths.tolist() == [6, 7]


def test_a_row_of_nan_leaves_the_others_alone() -> None:
    packed = Packed("llama")
    rows = some_rows((5, 6, 40))
    ragged = Ragged([5, 6, 40], CPU)
    with torch.no_grad():
        clean = packed.decoder.hidden(flat(rows), ragged)
        packed.model.get_input_embeddings().weight[0] = torch.nan
        rows[1][2] = 0
        spoiled = packed.decoder.hidden(flat(rows), ragged)
    assert spoiled[7:11].isnan().all()
    rest = [*range(5), *range(11, 51)]
    assert torch.equal(spoiled[rest], clean[rest])


def test_an_attention_that_cannot_be_replaced_is_refused() -> None:
    config = AutoConfig.for_model("bloom", vocab_size=20, hidden_size=16, n_layer=1, n_head=2)
    with pytest.raises(BaseModelError, match="'bloom', whose attention transformers cannot replace"):
        RaggedDecoder(AutoModelForCausalLM.from_config(config))


@pytest.mark.parametrize(("kind", "options"), [("mistral", {}), ("phi3", {}), ("qwen2", {"use_sliding_window": True})])
def test_a_text_longer_than_the_model_looks_back_is_refused(kind: str, options: dict[str, bool]) -> None:
    packed = Packed(kind, sliding_window=8, max_window_layers=0, **options)
    rows = some_rows((8, 3))
    cache = KeyValues([8, 3], 1, CPU)
    with torch.no_grad():
        logits = packed.decoder.logits(packed.decoder.hidden(flat(rows), Ragged([8, 3], CPU), cache))
        torch.testing.assert_close(logits[:8], packed.plain(torch.tensor(rows[:1])).logits[0], rtol=0, atol=1e-5)
        with pytest.raises(BaseModelError, match=r"looks back 8 tokens, and a text has 9: .*data\.max_length"):
            packed.decoder.step(torch.tensor([3, 4]), cache)
        with pytest.raises(BaseModelError, match="a text has 9"):
            packed.decoder.hidden(torch.arange(9), Ragged([9], CPU))


def learn(packed: Packed, slots: Sequence[int]) -> tuple[dict[int, float], dict[int, dict[str, torch.Tensor]]]:
    """Loss and gradients of each adapter: the mean next-token loss over its own rows, all in one forward."""
    rows = [row for slot in slots for row in ROWS[slot]]
    ragged = Ragged([len(row) for row in rows], CPU)
    pack = packed.pack(slots, train=True)
    tokens = [sum(len(row) for row in ROWS[slot]) for slot in slots]
    pack.bring([len(ROWS[slot]) for slot in slots], tokens)
    packed.context.pack = pack
    hidden = packed.decoder.hidden(flat(rows), ragged)
    packed.context.pack = None
    predicted = torch.ones(ragged.total, dtype=torch.bool)
    predicted[ragged.first] = False
    at = torch.nonzero(predicted).flatten()
    losses = packed.decoder.losses(hidden[at - 1], flat(rows)[at])
    counts = [total - len(ROWS[slot]) for slot, total in zip(slots, tokens, strict=True)]
    means = [part.mean() for part in losses.split(counts)]
    torch.stack(means).sum().backward()
    pack.flush_gradients()
    found = {}
    for slot in slots:
        shape = packed.store.shapes[slot]
        assert shape is not None
        found[slot] = packed.store.layout.trimmed(packed.store.gradients[slot], shape)
    return {slot: mean.item() for slot, mean in zip(slots, means, strict=True)}, found


@pytest.mark.parametrize("kind", KINDS)
def test_packed_gradients_are_the_solo_ones(kind: str) -> None:
    packed = Packed(kind)
    losses, together = learn(packed, [2, 0, 1])
    for slot in range(len(RANKS)):
        loss, alone = learn(packed, [slot])
        assert losses[slot] == pytest.approx(loss[slot], abs=1e-5)
        assert together[slot].keys() == alone[slot].keys()
        assert len(together[slot]) == 2 * len(packed.modules)
        for name, value in alone[slot].items():
            assert value.any(), name
            torch.testing.assert_close(together[slot][name], value, rtol=1e-4, atol=1e-5, msg=name)


# PEFT asks transformers for a name that it will drop
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
@pytest.mark.parametrize("kind", KINDS)
def test_packed_gradients_are_those_of_peft(kind: str) -> None:
    packed = Packed(kind)
    losses, gradients = learn(packed, [0, 1, 2])
    for slot, rank in enumerate(RANKS):
        config = LoraConfig(
            task_type="CAUSAL_LM", r=rank, lora_alpha=SCALES[slot] * rank, target_modules=packed.modules, lora_dropout=0
        )
        model = get_peft_model(copy.deepcopy(packed.plain), config).eval()
        theirs = {name.replace(".weight", ".default.weight"): name for name in peft_names(gradients[slot])}
        weights = peft_names(packed.store.tensors(slot))
        missing = model.load_state_dict({long: weights[name] for long, name in theirs.items()}, strict=False)
        assert not missing.unexpected_keys
        total = torch.zeros(())
        for row in ROWS[slot]:
            logits = model(torch.tensor([row])).logits[0, :-1]
            total = total + torch.nn.functional.cross_entropy(logits, torch.tensor(row[1:]), reduction="sum")
        loss = total / sum(len(row) - 1 for row in ROWS[slot])
        loss.backward()
        assert losses[slot] == pytest.approx(loss.item(), abs=1e-5)
        trained = {name: value.grad for name, value in model.named_parameters() if value.requires_grad}
        assert trained.keys() == theirs.keys()
        mine = peft_names(gradients[slot])
        for long, name in theirs.items():
            torch.testing.assert_close(mine[name], trained[long], rtol=1e-4, atol=1e-5, msg=name)


@pytest.mark.parametrize("kind", ["phi3", "llama", "qwen2"])
def test_models_without_grouped_queries(kind: str) -> None:
    """Phi-3 cuts query, key and value out of one matrix: with as many heads each, nothing copies them on the way."""
    packed = Packed(kind, num_key_value_heads=4)
    rows = some_rows(LENGTHS)
    with torch.no_grad():
        logits = packed.decoder.logits(packed.decoder.hidden(flat(rows), Ragged(LENGTHS, CPU)))
        expected = torch.cat([packed.plain(torch.tensor([row])).logits[0] for row in rows])
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-5)
