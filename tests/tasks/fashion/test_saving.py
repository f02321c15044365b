"""Saved adapters as others open them: files, metadata, details."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from tests.tasks.fashion import toy
from tuner.bases.diffusion import describe_diffusion
from tuner.engine.packing import Packing
from tuner.tasks.fashion.sampling import make_scheduler, seed_of
from tuner.tasks.fashion.saving import LORA

PROMPT = "a red dress"
DETAILS = {
    "task", "base_model", "revision", "checksum", "train", "resolution", "inference_steps", "guidance",
    "negative_prompt", "clip_model",
}  # fmt: skip


def trained(base: Path, clip: Path, space: dict[str, Any] | None = None, **params: Any) -> Packing:
    """One trial, far from the base."""
    packing = toy.make_packing(base, clip, space=space or {})
    packing.start(toy.make_spec("a", **params))
    if packing.task.prompting is None:
        toy.far(packing, 0.3 if not packing.task.denoiser.whole else 0.05)
    return packing


def drawn(packing: Packing) -> np.ndarray:
    found: np.ndarray = packing.task.drawing.draw(toy.pack_of(packing, "a"), [[PROMPT]], "", [2.0])[0][0]
    return found.astype(int)


def opened(base: Path, folder: Path) -> np.ndarray:
    """What anybody's pipeline draws with the adapter, in levels of 255."""
    pipe = toy.plain_pipeline(base)
    pipe.scheduler = make_scheduler(pipe.scheduler.config)
    pipe.load_lora_weights(str(folder))
    return (toy.drawn_by(pipe, PROMPT, seed_of(PROMPT), guidance_scale=2.0) * 255).round().astype(int)


def metadata(folder: Path) -> dict[str, Any]:
    with safe_open(folder / LORA, framework="pt") as file:
        found: dict[str, Any] = json.loads(file.metadata()["lora_adapter_metadata"])
    return found


def read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def modes(folder: Path) -> set[int]:
    return {stat.S_IMODE(path.stat().st_mode) for path in folder.rglob("*.safetensors")}


def test_the_file_holds_the_configuration_of_the_adapter(base: Path, clip: Path, tmp_path: Path) -> None:
    packing = trained(base, clip, rank=3, alpha=7, dropout=0.25, target_modules=["to_q", "conv1", "q_proj"])
    folder = toy.save(packing, tmp_path / "adapter")
    told = metadata(folder)
    for part, ends in (("unet", ("to_q", "conv1")), ("text_encoder", ("q_proj",))):
        assert (told[f"{part}.r"], told[f"{part}.lora_alpha"], told[f"{part}.lora_dropout"]) == (3, 7, 0.25)
        names = [site.name for site in packing.task.sites if site.name.startswith(f"{part}.")]
        wanted = [name.removeprefix(f"{part}.") for name in names if name.endswith(ends)]
        assert told[f"{part}.target_modules"] == sorted(wanted)
        assert wanted
    tensors = load_file(folder / LORA)
    assert len(tensors) == 2 * (len(told["unet.target_modules"]) + len(told["text_encoder.target_modules"]))
    assert {value.shape[0] for name, value in tensors.items() if ".lora_A." in name} == {3}
    assert {value.shape[1] for name, value in tensors.items() if ".lora_B." in name} == {3}
    convolutions = [value for name, value in tensors.items() if ".conv1.lora_A." in name]
    assert {tuple(value.shape[2:]) for value in convolutions} == {(3, 3)}


def test_an_alpha_that_is_not_the_rank_needs_the_metadata(base: Path, clip: Path, tmp_path: Path) -> None:
    packing = trained(base, clip, rank=2, alpha=9, target_modules=toy.EVERYWHERE)
    folder = toy.save(packing, tmp_path / "adapter")
    assert np.abs(opened(base, folder) - drawn(packing)).max() <= 1
    save_file(load_file(folder / LORA), folder / LORA, metadata={"format": "pt"})
    assert np.abs(opened(base, folder) - drawn(packing)).mean() > 1, "alpha is taken for the rank"


@pytest.mark.parametrize("targets", [["to_k"], ["conv_in"], ["fc2", "v_proj"]])
def test_an_adapter_of_one_part_alone_is_opened(base: Path, clip: Path, tmp_path: Path, targets: list[str]) -> None:
    packing = trained(base, clip, rank=3, alpha=8, target_modules=targets)
    folder = toy.save(packing, tmp_path / "adapter")
    part, other = ("text_encoder", "unet") if "fc2" in targets else ("unet", "text_encoder")
    assert metadata(folder)[f"{part}.r"] == 3
    assert f"{other}.r" not in metadata(folder)
    assert np.abs(opened(base, folder) - drawn(packing)).max() <= 1


def test_details_say_how_pictures_were_drawn(base: Path, clip: Path, tmp_path: Path) -> None:
    space = {"negative_prompt": "blurry", "resolution": 32}
    folder = toy.save(trained(base, clip, space, guidance=4.5), tmp_path / "adapter")
    assert {path.name for path in folder.iterdir()} == {LORA, "tuner.json"}
    details = read(folder / "tuner.json")
    assert details.keys() == DETAILS
    assert details == {
        "task": "fashion", "revision": None, "base_model": str(base), "train": "lora",
        "checksum": describe_diffusion(str(base)).checksum,
        "resolution": 32, "inference_steps": 3, "guidance": 4.5, "negative_prompt": "blurry", "clip_model": str(clip),
    }  # fmt: skip


@pytest.mark.parametrize("train", ["lora", "full"])
def test_weights_can_be_read_by_others(base: Path, clip: Path, tmp_path: Path, train: str) -> None:
    folder = toy.save(trained(base, clip, {"train": train}, train=train), tmp_path / "adapter")
    assert modes(folder) == {0o644}


def test_a_full_fine_tune_is_a_pipeline_in_fp16(base: Path, clip: Path, tmp_path: Path) -> None:
    packing = trained(base, clip, {"train": "full"}, train="full")
    before = {name: value.clone() for name, value in packing.task.base.unet.state_dict().items()}
    folder = toy.save(packing, tmp_path / "adapter")
    assert {path.name for path in folder.iterdir()} == {"fashion_sd_model", "tuner.json"}
    assert read(folder / "tuner.json")["train"] == "full"
    saved = load_file(folder / "fashion_sd_model/unet/diffusion_pytorch_model.safetensors")
    assert {str(value.dtype) for value in saved.values()} == {"torch.float16"}
    tensors, _ = packing.adapter("a", "last")
    for name, difference in tensors.items():
        short = name.removeprefix("unet.")
        wanted = (before[short] + difference.reshape(before[short].shape)).half()
        assert (saved[short] - wanted).abs().max() < 1e-3, name
    after = packing.task.base.unet.state_dict()
    assert all(value.equal(after[name]) for name, value in before.items()), "the base stays as it was"


def test_prompts_stand_in_place_of_an_adapter(base: Path, clip: Path, tmp_path: Path) -> None:
    packing = trained(base, clip, {"mode": "prompt"}, strategy="caption_plus", negative="quality", guidance=3.0)
    folder = toy.save(packing, tmp_path / "adapter")
    assert {path.name for path in folder.iterdir()} == {"prompts.json", "tuner.json"}
    found = read(folder / "prompts.json")
    assert {"optimized_prompt", "negative_prompt", "strategy", "similarity_score"} <= found.keys()
    assert (found["strategy"], found["negative_prompt"]) == ("caption_plus", "blurry, low quality")
    rows = packing.task.held_out["validation"]
    assert [each["image"] for each in found["images"]] == [row.name for row in rows]
    scores = [each["similarity_score"] for each in found["images"]]
    assert found["similarity_score"] == pytest.approx(np.mean(scores))
    assert found["similarity_score"] == pytest.approx(packing.report(["a"])[0].metrics["fashion_clip"], abs=1e-3)
    best = found["images"][int(np.argmax(scores))]
    assert found["optimized_prompt"] == best["optimized_prompt"]
    assert best["optimized_prompt"].startswith(rows[int(np.argmax(scores))].caption)


def test_details_of_prompts_say_the_plan_and_what_pictures_have_in_common(
    base: Path, clip: Path, tmp_path: Path
) -> None:
    space = {"mode": "prompt", "negative_prompt": "dark"}
    params = {"strategy": "minimal", "confidence_threshold": 0.02, "max_features": 7}
    folder = toy.save(trained(base, clip, space, **params), tmp_path / "plain")
    details = read(folder / "tuner.json")
    assert details.keys() == {*DETAILS, "prompts"}
    assert (details["train"], details["negative_prompt"]) == ("nothing", "dark")
    plan = {"strategy": "minimal", "threshold": 0.02, "most": 7, "negative": "none", "quality_words": False}
    assert details["prompts"]["plan"] == plan
    assert details["prompts"]["common"], "so low a threshold lets something through"
    assert all(set(each) == {"group", "word", "confidence"} for each in details["prompts"]["common"])
    other = toy.save(trained(base, clip, space, negative="people"), tmp_path / "other")
    assert read(other / "tuner.json")["negative_prompt"].startswith("person, hands")
