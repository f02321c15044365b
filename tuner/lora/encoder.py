"""Post-norm text encoders over ragged rows, built from the layers that transformers loaded.

BERT, RoBERTa (XLM-R, CamemBERT), DistilBERT and ALBERT are one architecture under four sets of names:

    h = LN(x + W_o attention(W_q x, W_k x, W_v x));  y = LN(h + W_down act(W_up h))

`layouts.LAYOUTS` holds the names. The layers' own modules do the work, so their weights stay where `from_pretrained`
put them; what changes is the way through: no padding (see `ragged`), no dropout in the frozen base, and, where only
the first token of a row is read, a last layer that computes only that token.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from transformers.activations import ACT2FN

from tuner.lora.layouts import EncoderLayout, layout_of
from tuner.lora.ragged import Ragged, attention


class _Layer:
    """One encoder layer: the parts of a transformers layer, looked up by name when it is made, after LoRA has wrapped
    them."""

    def __init__(
        self, layer: nn.Module, layout: EncoderLayout, heads: int, activation: Callable[..., torch.Tensor]
    ) -> None:
        def part(name: str) -> nn.Module:
            return layer.get_submodule(name)

        self.query, self.key, self.value = part(layout.query), part(layout.key), part(layout.value)
        self.output, self.norm1 = part(layout.output), part(layout.norm1)
        self.up, self.down, self.norm2 = part(layout.up), part(layout.down), part(layout.norm2)
        self.heads = heads
        self.activation = activation

    def __call__(self, x: torch.Tensor, ragged: Ragged, first_only: bool) -> torch.Tensor:
        """(T, H) -> (T, H), or (B, H) when only the first token of each row is wanted."""
        asked = x[ragged.first] if first_only else x
        mixed = attention(self.query(asked), self.key(x), self.value(x), ragged, self.heads, first_only=first_only)
        h = self.norm1(self.output(mixed).add_(asked))
        y: torch.Tensor = self.norm2(self.down(self.activation(self.up(h))).add_(h))
        return y


class RaggedEncoder:
    """The whole encoder with its classification head, over ragged rows.

    Made after its linear layers were wrapped. `model` is a transformers *ForSequenceClassification. Raises
    BaseModelError for an architecture without a layout.
    """

    def __init__(self, model: Any) -> None:
        config = model.config
        self.layout = layout_of(config.model_type)
        root = model.get_submodule(self.layout.root)
        embeddings = root.get_submodule("embeddings")
        self.words, self.places = embeddings.word_embeddings, embeddings.position_embeddings
        self.kinds = getattr(embeddings, "token_type_embeddings", None)
        self.norm = embeddings.LayerNorm
        self.project = (
            getattr(root.get_submodule("encoder"), "embedding_hidden_mapping_in", None) if self.layout.shared else None
        )
        heads = config.num_attention_heads
        self.width: int = config.hidden_size
        activation = ACT2FN[getattr(config, "hidden_act", None) or config.activation]
        stack = root.get_submodule(self.layout.layers)
        if self.layout.shared:
            self.layers = [_Layer(stack, self.layout, heads, activation)] * config.num_hidden_layers
        else:
            self.layers = [_Layer(layer, self.layout, heads, activation) for layer in stack.children()]
        self.dtype: torch.dtype = self.words.weight.dtype
        self.offset = config.pad_token_id + 1 if self.layout.position_offset else 0
        # a head sees one token a row: fp32 costs nothing there
        self.head = [
            (model.get_submodule(name).float(), ACT2FN[act] if act else None) for name, act in self.layout.head
        ]

    def hidden(self, ids: torch.Tensor, ragged: Ragged, *, first_only: bool) -> torch.Tensor:
        """Token ids (T,) -> last hidden states (T, H), or those of the rows' first tokens (B, H)."""
        x: torch.Tensor = self.words(ids) + self.places(ragged.positions + self.offset)
        if self.kinds is not None:
            x = x + self.kinds.weight[0]
        x = self.norm(x)
        if self.project is not None:
            x = self.project(x)
        last = len(self.layers) - 1
        for number, layer in enumerate(self.layers):
            x = layer(x, ragged, first_only and number == last)
        return x

    def logits(self, first: torch.Tensor) -> torch.Tensor:
        """Hidden states of the rows' first tokens (B, H) -> logits (B, labels) in fp32."""
        x = first.float()
        for module, activation in self.head:
            x = module(x)
            if activation is not None:
                x = activation(x)
        return x
