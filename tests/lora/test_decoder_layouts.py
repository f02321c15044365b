"""The names of the decoder layouts exist in the models that transformers builds, and run in the order they claim."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from tests.lora.causal import KINDS, LAYERS, make_model
from tuner.errors import BaseModelError
from tuner.lora.decoder_layouts import DECODERS, decoder_layout, default_targets, unknown_targets


def linears(model: nn.Module) -> dict[str, nn.Module]:
    """Every linear module but the head."""
    head = model.get_output_embeddings()  # type: ignore[operator]
    return {name: part for name, part in model.named_modules() if isinstance(part, nn.Linear) and part is not head}


def calls(model: Any) -> list[tuple[str, torch.Tensor]]:
    """Name and input of each linear module in the order they run."""
    found: list[tuple[str, torch.Tensor]] = []
    for name, part in linears(model).items():
        part.register_forward_hook(lambda _, inputs, __, name=name: found.append((name, inputs[0])))
    with torch.no_grad():
        model(torch.tensor([[3, 4, 5]]))
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_no_linear_module_is_forgotten_and_they_run_in_this_order(kind: str) -> None:
    model = make_model(kind)
    modules = decoder_layout(kind).modules(LAYERS)
    assert set(modules) == set(linears(model))
    assert [name for name, _ in calls(model)] == modules


@pytest.mark.parametrize("kind", KINDS)
def test_modules_share_a_place_exactly_where_they_read_the_same_tensor(kind: str) -> None:
    layout = decoder_layout(kind)
    by_input: dict[int, set[str]] = {}
    by_place: dict[str, set[str]] = {}
    kept = calls(make_model(kind))  # holds the inputs, so that none takes the memory of another
    for name, read in kept:
        by_input.setdefault(read.data_ptr(), set()).add(name)
        by_place.setdefault(layout.place(name), set()).add(name)
    assert sorted(map(sorted, by_place.values())) == sorted(map(sorted, by_input.values()))
    assert all(place in group for place, group in by_place.items())  # named after one of them


def test_an_unknown_architecture_names_those_there_are() -> None:
    with pytest.raises(BaseModelError, match="'bert', which this task cannot pack") as caught:
        decoder_layout("bert")
    assert all(kind in str(caught.value) for kind in DECODERS)


@pytest.mark.parametrize(
    ("kind", "targets"),
    [
        ("llama", ["q_proj", "v_proj"]),
        ("phi3", ["qkv_proj", "o_proj"]),
        ("gpt_neox", ["query_key_value", "dense"]),
    ],
)
def test_default_targets_are_queries_and_values_or_the_whole_attention(kind: str, targets: list[str]) -> None:
    layout = decoder_layout(kind)
    assert default_targets(layout) == targets
    assert unknown_targets(targets, layout) == []


def test_unknown_targets_are_those_that_name_no_part() -> None:
    layout = decoder_layout("llama")
    assert unknown_targets(["q_proj", "mlp.up_proj", "query", "proj", "lm_head"], layout) == [
        "query",
        "proj",
        "lm_head",
    ]
