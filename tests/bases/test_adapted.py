"""A saved adapter opens on its base with plain PEFT, and what is none or does not fit is told in a sentence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from tests.lora.causal import LAYERS, make_model
from tuner.bases.adapted import SavedAdapter
from tuner.bases.describe import describe
from tuner.bases.load import load_causal
from tuner.errors import BaseModelError, StoreError
from tuner.lora.adapter import save_peft
from tuner.lora.decoder_layouts import decoder_layout

MODULES = decoder_layout("llama").modules(LAYERS)
IDS = torch.tensor([[5, 6, 7, 8]])


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base") / "llama"
    make_model("llama").save_pretrained(folder)
    return folder


def make_adapter(folder: Path, base: str, width: int = 64) -> Path:
    """An adapter of rank 2 on the first query matrix, as a task saves it."""
    generator = torch.Generator().manual_seed(0)
    name = MODULES[0]
    tensors = {
        f"{name}.A": torch.randn(2, width, generator=generator),
        f"{name}.B": torch.randn(64, 2, generator=generator),
    }
    save_peft(
        folder, tensors, base=base, revision=None, modules=MODULES, targets=[name], full=(), all_linear=MODULES,
        rank=2, alpha=4, dropout=0.0, task_type="CAUSAL_LM",
    )  # fmt: skip
    write(folder / "tuner.json", {"task": "shoe_qa", "base_model": base, "max_length": 64})
    return folder


def write(path: Path, content: object) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")


# PEFT asks transformers for a name that it will drop
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
def test_an_adapter_on_its_base(base: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    saved = SavedAdapter.open(make_adapter(tmp_path / "adapter", str(base)))
    assert saved.facts == describe(str(base))
    assert saved.details == {"task": "shoe_qa", "base_model": str(base), "max_length": 64}
    model = saved.on(load_causal(saved.facts, torch.float32))
    assert not model.training
    by_hand = load_causal(saved.facts, torch.float32)
    tensors = dict(model.named_parameters())
    a, b = (tensors[f"base_model.model.{MODULES[0]}.lora_{part}.default.weight"] for part in "AB")
    with torch.no_grad():
        plain = by_hand(IDS).logits
        by_hand.get_submodule(MODULES[0]).weight += 2 * b @ a  # alpha / rank is 2
        assert not torch.allclose(by_hand(IDS).logits, plain, atol=1e-2)
        torch.testing.assert_close(model(IDS).logits, by_hand(IDS).logits, rtol=1e-4, atol=1e-5)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("file", ["tuner.json", "adapter_config.json", "adapter_model.safetensors"])
@pytest.mark.parametrize("content", [None, b"", b"{", b"[]", b"3", b"{}", b"\xff"])
def test_not_an_adapter(base: Path, tmp_path: Path, file: str, content: bytes | None) -> None:
    folder = make_adapter(tmp_path / "adapter", str(base))
    (folder / file).unlink()
    if content is not None:
        (folder / file).write_bytes(content)
    if (file, content) == ("adapter_config.json", b"{}"):  # which lacks nothing that opening needs
        assert SavedAdapter.open(folder).facts.revision is None
        return
    with pytest.raises(StoreError, match=r"is not a saved adapter: .*Name a study's best folder\.") as caught:
        SavedAdapter.open(folder)
    assert str(folder) in str(caught.value)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="is not a saved adapter"):
        SavedAdapter.open(tmp_path / "nothing")


def test_a_base_that_is_gone(tmp_path: Path) -> None:
    folder = make_adapter(tmp_path / "adapter", str(tmp_path / "gone"))
    with pytest.raises(BaseModelError, match="neither an embedded base"):
        SavedAdapter.open(folder)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
def test_a_base_of_another_width_or_architecture_does_not_fit(base: Path, tmp_path: Path) -> None:
    wide = SavedAdapter.open(make_adapter(tmp_path / "wide", str(base), width=32))
    with pytest.raises(StoreError, match=rf"wide does not fit its base {base}: .*\w"):
        wide.on(load_causal(wide.facts, torch.float32))
    saved = SavedAdapter.open(make_adapter(tmp_path / "adapter", str(base)))
    with pytest.raises(StoreError, match="does not fit its base"):
        saved.on(make_model("gpt_neox"))


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_base_is_loaded_in_the_dtype_asked_for(base: Path, dtype: torch.dtype) -> None:
    model = load_causal(describe(str(base)), dtype)
    assert {value.dtype for value in model.parameters()} == {dtype}
    assert not model.training


@pytest.mark.parametrize("content", [b"", b"\x10\0\0\0\0\0\0\0garbage"])
def test_damaged_weights_of_a_base(base: Path, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "config.json").write_bytes((base / "config.json").read_bytes())
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(BaseModelError, match="cannot be opened"):
        load_causal(describe(str(tmp_path)), torch.float32)
