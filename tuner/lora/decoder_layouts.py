"""The names under which causal language models keep their linear parts, one layout an architecture. Imports no torch.

Listed are architectures whose attention runs through transformers' attention interface and whose parts are plain
linear layers; `tests/lora/test_decoder.py` compares each with its own forward.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tuner.errors import BaseModelError
from tuner.lora.layouts import matching


@dataclass(frozen=True)
class DecoderLayout:
    """Where one architecture keeps its layers, and the linear parts of a layer: those of the attention and those of the
    MLP. `shared` are groups of parts that read the same input."""

    layers: str
    attention: tuple[str, ...]
    mlp: tuple[str, ...]
    shared: tuple[tuple[str, ...], ...]

    @property
    def parts(self) -> tuple[str, ...]:
        """All linear parts of a layer, in the order they run."""
        return (*self.attention, *self.mlp)

    def modules(self, layers: int) -> list[str]:
        """Full names of all linear modules that may carry LoRA, in the order they run."""
        return [f"{self.layers}.{number}.{part}" for number in range(layers) for part in self.parts]

    def place(self, module: str) -> str:
        """The input that a module reads: modules that read the same one share a dropout mask."""
        for group in self.shared:
            for part in group:
                if module.endswith(f".{part}"):
                    return f"{module.removesuffix(part)}{group[0]}"
        return module


_QKV = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")
_GATED = ("mlp.gate_proj", "mlp.up_proj")
_LLAMA = DecoderLayout("model.layers", (*_QKV, "self_attn.o_proj"), (*_GATED, "mlp.down_proj"), (_QKV, _GATED))
_PHI3 = DecoderLayout(
    "model.layers", ("self_attn.qkv_proj", "self_attn.o_proj"), ("mlp.gate_up_proj", "mlp.down_proj"), ()
)
_NEOX = DecoderLayout(
    "gpt_neox.layers",
    ("attention.query_key_value", "attention.dense"),
    ("mlp.dense_h_to_4h", "mlp.dense_4h_to_h"),
    (),
)

DECODERS = {
    **dict.fromkeys(("llama", "mistral", "qwen2", "qwen3", "gemma", "smollm3", "olmo2"), _LLAMA),
    "phi3": _PHI3,
    "gpt_neox": _NEOX,
}


def decoder_layout(model_type: str) -> DecoderLayout:
    """The layout of an architecture. Raises BaseModelError, naming those there are."""
    try:
        return DECODERS[model_type]
    except KeyError:
        raise BaseModelError(
            f"base_model has architecture {model_type!r}, which this task cannot pack. "
            f"Use one of: {', '.join(sorted(DECODERS))}."
        ) from None


def default_targets(layout: DecoderLayout) -> list[str]:
    """The attention's query and value, as the LoRA paper tunes them; the whole attention where those are one matrix."""
    names = [part.rpartition(".")[2] for part in layout.attention]
    chosen = [name for name in names if name in ("q_proj", "v_proj")]
    return chosen or names


def unknown_targets(targets: Sequence[str], layout: DecoderLayout) -> list[str]:
    """The targets that name no part of a layer."""
    return [target for target in targets if not matching(layout.parts, [target])]
