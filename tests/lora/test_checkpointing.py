"""Recomputed layers against the same model without: gradients of every member, and what is kept for the backward."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from tuner.lora.checkpointing import checkpoint_layers
from tuner.lora.decoder import RaggedDecoder
from tuner.lora.decoder_layouts import DECODERS, decoder_layout
from tuner.lora.packed import Member, Pack, PackContext, wrap_linears
from tuner.lora.parameters import AdapterShape, ParameterStore
from tuner.lora.ragged import Ragged

CPU = torch.device("cpu")
LAYERS, WIDTH, WORDS = 3, 32, 50
ROWS = [[7, 40], [9]]  # lengths of each member's rows: two groups in attention


class Toy:
    """A decoder of three layers with random weights, and two adapters on all of its linear parts."""

    def __init__(self, kind: str) -> None:
        torch.manual_seed(0)
        config = AutoConfig.for_model(
            kind, vocab_size=WORDS, hidden_size=WIDTH, intermediate_size=48, num_hidden_layers=LAYERS,
            num_attention_heads=4, num_key_value_heads=4 if kind == "gpt_neox" else 2, head_dim=8,
            max_position_embeddings=64, pad_token_id=0, bos_token_id=1, eos_token_id=2, initializer_range=0.2,
        )  # fmt: skip
        self.model: Any = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
        self.layout = decoder_layout(kind)
        modules = self.layout.modules(LAYERS)
        self.context = PackContext(CPU)
        places = {name: self.layout.place(name) for name in modules}
        self.store = ParameterStore(wrap_linears(self.model, modules, [], self.context, places), 2, CPU)
        for slot, rank in enumerate((2, 5)):
            self.store.put(slot, AdapterShape(rank, frozenset(modules), frozenset()), {})
            self.store.weights[slot] = torch.randn(self.store.layout.size) * 0.1
        self.decoder = RaggedDecoder(self.model)

    def run(self) -> tuple[float, torch.Tensor, int]:
        """Loss, the gradients of both adapters, and the bytes kept for the backward."""
        lengths = [length for rows in ROWS for length in rows]
        ragged = Ragged(lengths, CPU)
        ids = torch.arange(ragged.total) * 7 % WORDS
        pack = Pack(self.store, [Member(slot, 0.5, 0.3, slot, 4) for slot in range(2)], torch.float32, train=True)
        pack.bring([len(rows) for rows in ROWS], [sum(rows) for rows in ROWS])
        kept: dict[int, int] = {}

        def note(x: torch.Tensor) -> torch.Tensor:
            kept[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
            return x

        self.context.pack = pack
        with torch.autograd.graph.saved_tensors_hooks(note, lambda x: x):
            hidden = self.decoder.hidden(ids, ragged)
        self.context.pack = None
        loss = self.decoder.losses(hidden[:-1], ids[1:]).sum()
        loss.backward()
        pack.flush_gradients()
        assert self.context.pack is None
        return loss.item(), self.store.gradients.clone(), sum(kept.values())


@pytest.mark.parametrize("kind", sorted(DECODERS))
def test_gradients_are_the_same_and_less_is_kept(kind: str) -> None:
    toy = Toy(kind)
    loss, gradients, kept = toy.run()
    names = [name for name, _ in toy.model.named_modules()]
    checkpoint_layers(toy.model.get_submodule(toy.layout.layers), toy.context)
    again, recomputed, less = toy.run()
    assert again == loss
    assert gradients.abs().max() > 0.1
    torch.testing.assert_close(recomputed, gradients, rtol=1e-6, atol=1e-6)
    assert less < kept / 3
    assert [name for name, _ in toy.model.named_modules()] == names


def test_layers_run_once_where_nothing_is_to_be_learned() -> None:
    toy = Toy("llama")
    calls = []
    for layer in toy.model.model.layers:
        layer.mlp.register_forward_pre_hook(lambda *_: calls.append(1))
    checkpoint_layers(toy.model.model.layers, toy.context)
    ragged = Ragged([6], CPU)
    with torch.no_grad():
        toy.decoder.hidden(torch.arange(6), ragged)
    assert len(calls) == LAYERS
    toy.run()
    assert len(calls) == 3 * LAYERS


def test_an_error_in_a_layer_leaves_the_context_as_it_was() -> None:
    toy = Toy("llama")
    checkpoint_layers(toy.model.model.layers, toy.context)
    toy.context.pack = pack = Pack(toy.store, [Member(0, 1.0)], torch.float32, train=True)  # brings no rows
    with pytest.raises(RuntimeError, match="invalid for input"):
        toy.decoder.hidden(torch.arange(6), Ragged([6], CPU))
    assert toy.context.pack is pack
