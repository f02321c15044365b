"""A LoRA file read back: the tensors that were saved, and sentences about damaged ones."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from tests.tasks.fashion import toy
from tuner.engine.packing import Packing
from tuner.errors import StoreError
from tuner.lora.table import Opened
from tuner.tasks.fashion.lora_file import read_lora
from tuner.tasks.fashion.saving import LORA

Tensors = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def packing(base: Path, clip: Path) -> Packing:
    found = toy.make_packing(base, clip)
    found.start(toy.make_spec("a", rank=3, alpha=8, target_modules=["to_q", "conv1", "conv_shortcut", "q_proj"]))
    toy.far(found)
    return found


@pytest.fixture(scope="module")
def saved(packing: Packing, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy.save(packing, tmp_path_factory.mktemp("saved") / "adapter")


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "adapter"))


def read(packing: Packing, folder: Path) -> Opened:
    denoiser = packing.task.denoiser
    return read_lora(folder, denoiser.sites, denoiser.kernels, {"who": "a"})


def rewrite(folder: Path, tensors: Callable[[Tensors], Any] = len, told: Callable[[dict[str, Any]], Any] = len) -> None:
    """Change the file's tensors and metadata in place."""
    with safe_open(folder / LORA, framework="pt") as file:
        metadata = json.loads(file.metadata()["lora_adapter_metadata"])
    found = load_file(folder / LORA)
    tensors(found)
    told(metadata)
    save_file(found, folder / LORA, metadata={"lora_adapter_metadata": json.dumps(metadata)})


def says(packing: Packing, folder: Path) -> str:
    with pytest.raises(StoreError) as caught:
        read(packing, folder)
    assert "\n" not in str(caught.value)
    assert LORA in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("targets", [["to_q"], ["conv1", "conv_in"], ["q_proj", "fc2"], toy.EVERYWHERE])
def test_what_was_saved_is_read(base: Path, clip: Path, tmp_path: Path, targets: list[str]) -> None:
    packing = toy.make_packing(base, clip)
    packing.start(toy.make_spec("a", rank=5, alpha=7, target_modules=targets))
    toy.far(packing)
    tensors, _ = packing.adapter("a", "last")
    found = read(packing, toy.save(packing, tmp_path / "adapter"))
    assert found.tensors.keys() == tensors.keys()
    assert all(torch.equal(value, tensors[name]) for name, value in found.tensors.items())
    assert found.shape == packing.task.denoiser.shape(5, targets)
    assert found.scale == 7 / 5
    assert found.details == {"who": "a"}


def test_alpha_is_never_taken_for_the_rank(packing: Packing, folder: Path) -> None:
    assert read(packing, folder).scale == 8 / 3
    rewrite(folder, told=lambda told: told.pop("unet.lora_alpha"))
    assert "do not say rank and alpha of its unet" in says(packing, folder)
    save_file(load_file(folder / LORA), folder / LORA, metadata={"format": "pt"})
    assert "its metadata do not say its rank and alpha" in says(packing, folder)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda told: told.update({"unet.use_dora": True}), "no plain LoRA (use_dora)"),
        (lambda told: told.update({"text_encoder.rank_pattern": {"fc1": 2}}), "no plain LoRA (rank_pattern)"),
        (lambda told: told.update({"unet.bias": "all"}), "no plain LoRA"),
        (lambda told: told.update({"unet.r": 0, "text_encoder.r": 0}), "its rank is 0"),
        (lambda told: told.update({"unet.r": "many"}), "is not a saved LoRA"),
        (lambda told: told.update({"unet.lora_alpha": 9}), "different ranks and alphas"),
        (lambda told: told.update({"unet.lora_alpha": float("nan"), "text_encoder.lora_alpha": 8}), "its alpha nan"),
        (lambda told: [told.pop(name) for name in list(told) if name.startswith("text_")], "of its text_encoder"),
        (lambda told: told.update({"unet.target_modules": ["to_q", "to_k", "conv1"]}), "is incomplete"),
    ],
)
def test_metadata_that_say_something_else_are_refused(
    packing: Packing, folder: Path, change: Callable[[dict[str, Any]], Any], words: str
) -> None:
    rewrite(folder, told=change)
    assert words in says(packing, folder)


def first(tensors: Tensors, part: str) -> str:
    return next(name for name in sorted(tensors) if part in name)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda found: found.pop(first(found, "to_q.lora_B")), "is incomplete"),
        (lambda found: found.pop(first(found, "conv1.lora_A")), "is incomplete"),
        (lambda found: found.update({"unet.nowhere.lora_A.weight": torch.zeros(3, 8)}), "has no unet.nowhere"),
        (lambda found: found.update({"unet.conv_in.weight": torch.zeros(3, 8)}), "is no half of a LoRA"),
        (lambda found: found.update({first(found, "conv1.lora_A"): torch.zeros(3, 72)}), "has the sizes (3, 72)"),
        (lambda found: found.update({first(found, "to_q.lora_A"): torch.zeros(3, 8, 1, 1)}), "has the sizes"),
        (lambda found: found.update({first(found, "to_q.lora_A"): torch.zeros(3)}), "has the sizes (3,)"),
        (lambda found: found.clear(), "is incomplete"),
    ],
)
def test_tensors_that_do_not_fit_are_refused(
    packing: Packing, folder: Path, change: Callable[[Tensors], Any], words: str
) -> None:
    rewrite(folder, tensors=change)
    assert words in says(packing, folder)


def test_a_damaged_file_is_refused(packing: Packing, folder: Path) -> None:
    kept = (folder / LORA).read_bytes()
    for content in (b"", kept[:100], kept[:-10], b"\xff" * 64, b"PK\x03\x04" + kept):
        (folder / LORA).write_bytes(content)
        assert "is not a saved LoRA" in says(packing, folder)
    (folder / LORA).unlink()
    assert "is not a saved LoRA" in says(packing, folder)
    with_list = {"lora_adapter_metadata": "[" * 100_000}
    save_file({"unet.conv_in.lora_A.weight": torch.zeros(3, 4, 3, 3)}, folder / LORA, metadata=with_list)
    assert "is not a saved LoRA" in says(packing, folder)
