"""Bases in 4 bits where bitsandbytes is there, unquantised with a reason where it is not."""

from __future__ import annotations

import importlib.util
import logging

import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM, LlamaConfig

from tuner.bases.describe import BaseFacts, describe
from tuner.bases.four_bit import open_causal, why_not
from tuner.device import Device, select_devices
from tuner.lora.decoder_layouts import decoder_layout
from tuner.lora.packed import PackContext, wrap_linears


@pytest.fixture(scope="module")
def facts(tmp_path_factory: pytest.TempPathFactory) -> BaseFacts:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("base")
    config = LlamaConfig(
        vocab_size=60, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=32, initializer_range=0.2,
    )  # fmt: skip
    AutoModelForCausalLM.from_config(config, dtype=torch.float32).save_pretrained(folder)
    return describe(str(folder))


@pytest.fixture
def cpu() -> Device:
    return select_devices(["cpu"], "fp32")[0]


def test_off_is_the_plain_base(facts: BaseFacts, cpu: Device) -> None:
    model, notes = open_causal(facts, cpu, False)
    assert notes == ()
    assert type(model.get_submodule("model.layers.0.mlp.up_proj")) is nn.Linear


def test_without_the_package_the_base_is_plain_and_a_note_says_why(
    facts: BaseFacts, cpu: Device, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name, *rest: None if name == "bitsandbytes" else find(name, *rest)
    )
    with caplog.at_level(logging.WARNING):
        model, notes = open_causal(facts, cpu, True)
    assert type(model.get_submodule("model.layers.0.mlp.up_proj")) is nn.Linear
    (note,) = notes
    assert "memory.base_4bit" in note
    assert "pip install bitsandbytes" in note
    assert note in caplog.messages


def test_a_device_without_kernels_is_named(monkeypatch: pytest.MonkeyPatch, cpu: Device) -> None:
    functional = pytest.importorskip("bitsandbytes.functional", reason="4-bit layers need bitsandbytes")

    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("no kernel\nfor this")

    monkeypatch.setattr(functional, "quantize_4bit", refuse)
    obstacle = why_not(cpu)
    assert obstacle is not None
    assert "cpu (no kernel)" in obstacle
    assert "CUDA" in obstacle


def test_layers_are_in_4_bits_and_the_rest_is_not(facts: BaseFacts, cpu: Device) -> None:
    bnb = pytest.importorskip("bitsandbytes", reason="4-bit layers need bitsandbytes")
    model, notes = open_causal(facts, cpu, True)
    assert notes == ()
    layers = [module for name, module in model.named_modules() if isinstance(module, nn.Linear) and "layers" in name]
    assert layers
    assert all(isinstance(layer, bnb.nn.Linear4bit) and layer.weight.dtype == torch.uint8 for layer in layers)
    state = layers[0].weight.quant_state
    assert (state.quant_type, state.nested) == ("nf4", True)
    head = model.get_submodule("lm_head")
    assert type(head) is nn.Linear
    assert head.weight.dtype == torch.float32
    plain, _ = open_causal(facts, cpu, False)
    for name, module in plain.named_modules():
        if isinstance(module, nn.Linear) and name != "lm_head":
            weight = model.get_submodule(name).weight
            rounded = bnb.functional.dequantize_4bit(weight.data, weight.quant_state)
            assert torch.nn.functional.cosine_similarity(rounded.flatten(), module.weight.flatten(), dim=0) > 0.99
            module.weight.data = rounded
    modules = decoder_layout("llama").modules(2)
    assert len(wrap_linears(model, modules, [], PackContext(torch.device("cpu")))) == len(modules)
    ids = torch.arange(12)[None]
    with torch.no_grad():
        torch.testing.assert_close(model(ids).logits, plain(ids).logits, rtol=1e-4, atol=1e-4)
