"""Toy causal language models for the tests here: every architecture of `DECODERS` in two layers of width 64 with random
weights, wrapped for packing, and adapters large enough to change what is said.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from tuner.lora.decoder import RaggedDecoder
from tuner.lora.decoder_layouts import DECODERS, decoder_layout
from tuner.lora.packed import Member, Pack, PackContext, wrap_linears
from tuner.lora.parameters import AdapterShape, ParameterStore

CPU = torch.device("cpu")
KINDS = sorted(DECODERS)
LAYERS, VOCABULARY = 2, 97
RANKS, SCALES = (1, 8, 3), (2.0, 0.5, 1.0)


def make_model(kind: str, *, tied: bool = False, **options: Any) -> Any:
    """The model with transformers' own plain attention. Tied, its output matrix is that of the embeddings: with random
    weights it then says again what it read last. `options` are of its config."""
    sizes: dict[str, Any] = {"vocab_size": VOCABULARY, "hidden_size": 64, "intermediate_size": 96}
    sizes |= {"num_hidden_layers": LAYERS, "num_attention_heads": 4, "initializer_range": 0.1}
    sizes |= {"max_position_embeddings": 256, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    sizes |= {"tie_word_embeddings": tied}
    if kind != "gpt_neox":  # which has no grouped queries
        sizes |= {"num_key_value_heads": 2}
    if kind in ("gemma", "qwen3"):  # whose heads are else wider than the model
        sizes |= {"head_dim": 16}
    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, **sizes | options)
    return AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()


def some_rows(lengths: Sequence[int], seed: int = 1) -> list[list[int]]:
    """Random tokens, none of them special."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(3, VOCABULARY, (length,), generator=generator).tolist() for length in lengths]


class Packed:
    """A model ready for packs, `plain` as it was before, and one adapter of each of `RANKS` on all linear modules."""

    def __init__(self, kind: str, **options: Any) -> None:
        self.plain = make_model(kind, **options)
        self.model = copy.deepcopy(self.plain)
        layout = decoder_layout(kind)
        self.modules = layout.modules(LAYERS)
        self.context = PackContext(CPU)
        places = {name: layout.place(name) for name in self.modules}
        self.sites = wrap_linears(self.model, self.modules, [], self.context, places)
        self.decoder = RaggedDecoder(self.model)
        self.store = ParameterStore(self.sites, len(RANKS), CPU)
        generator = torch.Generator().manual_seed(2)
        for slot, rank in enumerate(RANKS):
            tensors = {}
            for site in self.sites:
                tensors[f"{site.name}.A"] = torch.randn(rank, site.inputs, generator=generator) * 0.1
                tensors[f"{site.name}.B"] = torch.randn(site.outputs, rank, generator=generator) * 0.3
            self.store.put(slot, AdapterShape(rank, frozenset(self.modules), frozenset()), tensors)

    def pack(self, slots: Sequence[int], *, train: bool = False) -> Pack:
        """A pack of these adapters; of none, the base alone."""
        return Pack(self.store, [Member(slot, SCALES[slot]) for slot in slots], torch.float32, train=train)
