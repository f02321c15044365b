"""The names under which the BERT family keeps its parts, one layout an architecture. Imports no torch.

BERT, RoBERTa (XLM-R, CamemBERT), DistilBERT and ALBERT are one post-norm encoder under four sets of names.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tuner.errors import BaseModelError


@dataclass(frozen=True)
class EncoderLayout:
    """Where one architecture keeps its parts. Names of layers are relative to a layer; `head` is what follows the
    encoder: linear modules and the activations behind them; `trained` are those of them that a classifier trains in
    full, as PEFT names them."""

    root: str
    layers: str
    query: str
    key: str
    value: str
    output: str
    norm1: str
    up: str
    down: str
    norm2: str
    head: tuple[tuple[str, str | None], ...]
    trained: tuple[str, ...] = ("classifier",)
    shared: bool = False  # one layer, used num_hidden_layers times
    position_offset: bool = False  # positions start behind the padding id

    @property
    def parts(self) -> tuple[str, ...]:
        """The linear parts of a layer, in the order they run; the same place means the same part in every layout."""
        return self.query, self.key, self.value, self.output, self.up, self.down

    @property
    def attention_inputs(self) -> tuple[str, str, str]:
        """The parts that read the layer's input."""
        return self.query, self.key, self.value


def _bert(root: str, head: tuple[tuple[str, str | None], ...], position_offset: bool = False) -> EncoderLayout:
    return EncoderLayout(
        root, "encoder.layer", "attention.self.query", "attention.self.key", "attention.self.value",
        "attention.output.dense", "attention.output.LayerNorm", "intermediate.dense", "output.dense",
        "output.LayerNorm", head=head, position_offset=position_offset,
    )  # fmt: skip


_ROBERTA_HEAD = (("classifier.dense", "tanh"), ("classifier.out_proj", None))
LAYOUTS = {
    "bert": _bert("bert", (("bert.pooler.dense", "tanh"), ("classifier", None))),
    "roberta": _bert("roberta", _ROBERTA_HEAD, position_offset=True),
    "xlm-roberta": _bert("roberta", _ROBERTA_HEAD, position_offset=True),
    "camembert": _bert("roberta", _ROBERTA_HEAD, position_offset=True),
    "distilbert": EncoderLayout(
        "distilbert", "transformer.layer", "attention.q_lin", "attention.k_lin", "attention.v_lin", "attention.out_lin",
        "sa_layer_norm", "ffn.lin1", "ffn.lin2", "output_layer_norm",
        head=(("pre_classifier", "relu"), ("classifier", None)), trained=("pre_classifier", "classifier"),
    ),
    "albert": EncoderLayout(
        "albert", "encoder.albert_layer_groups.0.albert_layers.0", "attention.query", "attention.key",
        "attention.value", "attention.dense", "attention.LayerNorm", "ffn", "ffn_output", "full_layer_layer_norm",
        head=(("albert.pooler", "tanh"), ("classifier", None)), shared=True,
    ),
}  # fmt: skip


def layout_of(model_type: str) -> EncoderLayout:
    """The layout of an architecture. Raises BaseModelError, naming those there are."""
    try:
        return LAYOUTS[model_type]
    except KeyError:
        known = ", ".join(sorted(LAYOUTS))
        raise BaseModelError(
            f"base_model has architecture {model_type!r}, which this task cannot pack. Use one of: {known}."
        ) from None


def lora_modules(layout: EncoderLayout, layers: int) -> list[str]:
    """Full names of all linear modules of the encoder that may carry LoRA, in the order they run."""
    stacks = [layout.layers] if layout.shared else [f"{layout.layers}.{number}" for number in range(layers)]
    return [f"{layout.root}.{stack}.{part}" for stack in stacks for part in layout.parts]


def translated(targets: Sequence[str], layout: EncoderLayout) -> list[str]:
    """Targets in this layout's words, so that one space serves several bases: a name that only other architectures use
    becomes what this one calls the same part (query is q_lin in DistilBERT). Names that are no part's, or that mean
    different parts to others, stay as they are."""
    found = []
    for target in targets:
        if matching(layout.parts, [target]):
            found.append(target)
            continue
        places = {
            place for other in LAYOUTS.values() for place, part in enumerate(other.parts) if matching([part], [target])
        }
        found.append(layout.parts[places.pop()] if len(places) == 1 else target)
    return found


def matching(modules: Sequence[str], targets: Sequence[str]) -> list[str]:
    """The modules that the targets name, by PEFT's rule: the whole name or its end behind a dot."""
    return [name for name in modules if any(name == target or name.endswith(f".{target}") for target in targets)]
