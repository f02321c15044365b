"""Causal language models over ragged rows: the model that transformers loaded, with our attention in it.

transformers lets a model's attention be any function (its attention interface). Ours reads one long row of all tokens,
(1, T), that belongs to many texts: `Ragged` says where each begins, positions count from 0 in each, and no token is
padding. The model's own code does all else, so that every architecture in `decoder_layouts` works alike.

To generate, keys and values of what was read stay in a `Cache`: in `KeyValues` one row a text, padded on the left so
that all texts end at the same column and each step writes one. `model` is used by one thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch

from tuner.errors import BaseModelError
from tuner.lora.cross_entropy import token_losses
from tuner.lora.ragged import Ragged, causal_attention

ATTENTION = "tuner_ragged"  # the name under which transformers finds our attention


class Cache(Protocol):
    """Where keys and values of texts under way stay. `lengths` (B,) are the texts' tokens, in the order of a step's."""

    lengths: torch.Tensor

    def fill(self, layer: int, key: torch.Tensor, value: torch.Tensor, ragged: Ragged) -> None:
        """Keep what a first reading found: key and value (T, g, d) of all rows."""

    def attend(
        self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float
    ) -> torch.Tensor:
        """Add one token a text, key and value (B, g, d), and let its query (B, h, d) look at all so far: (B, h, d)."""

    def advance(self) -> None:
        """The token that every layer was given counts from now on."""


def one_token_attention(
    query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, bias: torch.Tensor, scale: float
) -> torch.Tensor:
    """Attention of one token a text: query (B, h, d), keys and values (B, g, L, d) with h a multiple of g, bias
    (B, 1, 1, L) -> (B, h, d)."""
    # scaled first: the product of unscaled ones may leave the range of fp16
    grouped = (query * scale).view(len(query), keys.shape[1], -1, query.shape[-1])  # (B, g, h / g, d)
    scores = (grouped @ keys.transpose(2, 3)).add_(bias)  # (B, g, h / g, L)
    return (scores.softmax(-1) @ values).reshape(query.shape)


class KeyValues:
    """Keys and values of B texts in every layer, (B, g, length, d) each, written from the left end of the last text's
    room to its right end.

    `lengths` are the texts' tokens; `room` is how many each may still get. Column `at` is the next to be written;
    text i begins at column longest - lengths[i], what lies before it is padding.
    """

    def __init__(self, lengths: Sequence[int], room: int, device: torch.device) -> None:
        self.longest = max(lengths)
        self.at = self.longest
        self.capacity = self.longest + room
        self.lengths = torch.tensor(lengths, device=device)
        self._layers: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        self._hidden = torch.arange(self.longest, device=device)[None] < (self.longest - self.lengths)[:, None]
        self._place: tuple[torch.Tensor, torch.Tensor] | None = None
        self._bias: torch.Tensor | None = None

    def fill(self, layer: int, key: torch.Tensor, value: torch.Tensor, ragged: Ragged) -> None:
        """Keep what a first reading found: key and value (T, g, d) of all rows."""
        if self._place is None:
            self._place = ragged.row_of, ragged.positions + (self.longest - self.lengths)[ragged.row_of]
        held = []
        for x in (key, value):
            room = x.new_zeros(len(self.lengths), x.shape[1], self.capacity, x.shape[2])
            room[self._place[0], :, self._place[1]] = x
            held.append(room)
        self._layers[layer] = held[0], held[1]

    def extend(self, layer: int, key: torch.Tensor, value: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Add one token a text, key and value (B, g, d); all keys and values so far, (B, g, at + 1, d)."""
        keys, values = self._layers[layer]
        keys[:, :, self.at], values[:, :, self.at] = key, value
        return keys[:, :, : self.at + 1], values[:, :, : self.at + 1]

    def attend(
        self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float
    ) -> torch.Tensor:
        """See `Cache`."""
        keys, values = self.extend(layer, key, value)
        if self._bias is None:  # of this step, for all layers
            self._bias = self.bias(query.dtype)
        return one_token_attention(query, keys, values, self._bias, scale)

    def bias(self, dtype: torch.dtype) -> torch.Tensor:
        """(B, 1, 1, at + 1): a large negative number on padding, else 0."""
        shown = torch.zeros(len(self._hidden), self.at + 1, dtype=dtype, device=self._hidden.device)
        shown[:, : self.longest].masked_fill_(self._hidden, torch.finfo(dtype).min / 2)
        return shown[:, None, None]

    def advance(self) -> None:
        """The token that every layer was given counts from now on."""
        self.at += 1
        self.lengths = self.lengths + 1
        self._bias = None

    def keep(self, rows: torch.Tensor) -> None:
        """Forget all texts but these (indices)."""
        self.lengths, self._hidden = self.lengths[rows], self._hidden[rows]
        # one layer after another: the old one's memory is free then
        for number, (keys, values) in self._layers.items():
            self._layers[number] = keys[rows], values[rows]


class _Reading:
    """What attention needs to know of the forward that runs: whole texts, which may be kept, or one more token of
    texts that are."""

    def __init__(self, ragged: Ragged | None, cache: Cache | None) -> None:
        self.ragged = ragged
        self.cache = cache

    @property
    def longest(self) -> int:
        """Tokens of the longest text, with the one that is being read."""
        if self.ragged is not None:
            return max(self.ragged.lengths)
        assert self.cache is not None
        return int(self.cache.lengths.max()) + 1

    def attend(
        self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float
    ) -> torch.Tensor:
        """query (T, h, d), key and value (T, g, d) -> (T, h, d)."""
        if self.ragged is not None:
            if self.cache is not None:
                self.cache.fill(layer, key, value, self.ragged)
            q, k, v = (x.reshape(len(x), -1) for x in (query, key, value))
            return causal_attention(q, k, v, self.ragged, query.shape[1], scale).view(query.shape)
        assert self.cache is not None
        return self.cache.attend(layer, query, key, value, scale)


def _attend(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: Any,
    *,
    scaling: float,
    reading: _Reading,
    sliding_window: int | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """transformers' attention interface: (1, h, T, d) and (1, g, T, d) -> (1, T, h, d). Masks are the reading's. Raises
    BaseModelError for a text longer than the model looks back."""
    if sliding_window is not None and reading.longest > sliding_window:
        raise BaseModelError(
            f"base_model looks back {sliding_window} tokens, and a text has {reading.longest}: longer ones are not "
            "supported. Set data.max_length lower."
        )
    q, k, v = (x[0].transpose(0, 1) for x in (query, key, value))
    return reading.attend(module.layer_idx, q, k, v, scaling)[None], None


class RaggedDecoder:
    """A transformers *ForCausalLM over ragged rows. Made after its linear layers were wrapped. Raises BaseModelError
    for a model whose attention cannot be replaced."""

    def __init__(self, model: Any) -> None:
        from transformers import AttentionInterface

        body = model.get_decoder()
        if not getattr(body, "_supports_attention_backend", False):
            raise BaseModelError(
                f"base_model has architecture {model.config.model_type!r}, whose attention transformers cannot replace."
            )
        AttentionInterface.register(ATTENTION, _attend)
        model.set_attn_implementation(ATTENTION)
        self.body = body
        self.head: torch.Tensor = model.get_output_embeddings().weight
        config = model.config
        groups = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
        width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        self.token_bytes: int = 2 * config.num_hidden_layers * groups * width * self.head.element_size()
        """What a token's keys and values take in a cache."""

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the activations."""
        return self.head.dtype

    def hidden(self, ids: torch.Tensor, ragged: Ragged, cache: Cache | None = None) -> torch.Tensor:
        """Token ids (T,) -> last hidden states (T, H). With a cache, what generation needs is kept there."""
        return self._run(ids, ragged.positions, _Reading(ragged, cache))

    def step(self, ids: torch.Tensor, cache: Cache) -> torch.Tensor:
        """One more token of each text (B,) -> its hidden states (B, H)."""
        hidden = self._run(ids, cache.lengths, _Reading(None, cache))
        cache.advance()
        return hidden

    def losses(self, hidden: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Cross-entropy of each token (T,), fp32, from the hidden states before it (T, H)."""
        return token_losses(hidden, self.head, targets)

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """(B, H) -> (B, V), fp32."""
        return (hidden @ self.head.T).float()

    def _run(self, ids: torch.Tensor, positions: torch.Tensor, reading: _Reading) -> torch.Tensor:
        found = self.body(input_ids=ids[None], position_ids=positions[None], use_cache=False, reading=reading)
        hidden: torch.Tensor = found.last_hidden_state[0]
        return hidden
