"""The names of the layouts exist in the models that transformers builds."""

from __future__ import annotations

import pytest
from torch import nn
from transformers import AutoModelForSequenceClassification

from tests.engine import toy
from tuner.errors import BaseModelError
from tuner.lora.layouts import LAYOUTS, layout_of, lora_modules, matching, translated


@pytest.mark.parametrize("kind", [*toy.KINDS, "xlm-roberta", "camembert"])
def test_every_name_is_a_linear_layer(kind: str) -> None:
    config = toy.model_config(kind)
    model = AutoModelForSequenceClassification.from_config(config)
    layout = layout_of(kind)
    modules = lora_modules(layout, 2)
    assert len(modules) == (6 if layout.shared else 12)
    for name in [*modules, *(name for name, _ in layout.head)]:
        assert isinstance(model.get_submodule(name), nn.Linear), name
    # no linear layer of a block is forgotten: the rest stands before the blocks or in the head
    inside = f"{layout.root}.{layout.layers}"
    linear = {name for name, part in model.named_modules() if isinstance(part, nn.Linear) and name.startswith(inside)}
    assert linear == set(modules)


def test_unknown_architecture_names_those_there_are() -> None:
    with pytest.raises(BaseModelError) as caught:
        layout_of("t5")
    assert all(kind in str(caught.value) for kind in LAYOUTS)


def test_matching_is_by_whole_name_or_end_behind_a_dot() -> None:
    modules = ["a.query", "a.inquery", "b.attention.query", "query"]
    assert matching(modules, ["query"]) == ["a.query", "b.attention.query", "query"]
    assert matching(modules, ["attention.query"]) == ["b.attention.query"]
    assert matching(modules, ["a.query", "nothing"]) == ["a.query"]


def test_a_name_of_another_architecture_means_the_same_part_here() -> None:
    distilbert, bert, roberta = layout_of("distilbert"), layout_of("bert"), layout_of("roberta")
    assert translated(["query", "value"], distilbert) == ["attention.q_lin", "attention.v_lin"]
    assert translated(["attention.output.dense"], distilbert) == ["attention.out_lin"]
    assert translated(["q_lin", "lin2"], bert) == ["attention.self.query", "output.dense"]
    assert translated(["query", "output.dense"], roberta) == ["query", "output.dense"]


@pytest.mark.parametrize("target", ["nothing", "dense", "bert.encoder.layer.0.attention.self.query"])
def test_what_names_no_part_or_several_stays(target: str) -> None:
    assert translated([target], layout_of("distilbert")) == [target]
