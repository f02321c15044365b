"""What a Stable Diffusion pipeline is, read from its small files; everything else is refused by name."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest

from tests.bases.toy_pipeline import FILES, WEIGHTS, write_pipeline
from tuner.bases import garment_sd
from tuner.bases.diffusion import ATTENTION, CONVOLUTION, FEED_FORWARD, TEXT, describe_diffusion, known_targets
from tuner.errors import BaseModelError


def refusal(base: Path | str) -> str:
    with pytest.raises(BaseModelError) as caught:
        describe_diffusion(str(base))
    return str(caught.value)


def test_a_folder(tmp_path: Path) -> None:
    facts = describe_diffusion(str(write_pipeline(tmp_path)), "0" * 40)
    assert (facts.name, facts.source, facts.revision) == (str(tmp_path), str(tmp_path), None)
    assert facts.unet["in_channels"] == facts.vae["latent_channels"] == 4
    assert facts.scheduler["prediction_type"] == "epsilon"
    # 3 blocks of the VAE make 4 pixels a latent, 2 of the UNet halve once
    assert (facts.width, facts.scale, facts.step, facts.resolution, facts.text_length) == (16, 4, 8, 32, 16)


def test_the_home_folder_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    write_pipeline(tmp_path / "base")
    assert describe_diffusion("~/base").source == str(tmp_path / "base")


def test_the_embedded_pipeline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(garment_sd, "locate", lambda: write_pipeline(tmp_path), raising=False)
    monkeypatch.setattr(garment_sd, "SHA256", "ab" * 32, raising=False)
    facts = describe_diffusion("garment_sd")
    assert (facts.name, facts.source, facts.checksum) == ("garment_sd", str(tmp_path), "ab" * 32)


@pytest.mark.parametrize(
    ("size", "resolution"),
    [(8, 32), ([8, 8], 32), ([8, 16], None), (None, None), (True, None), ("8", None), (0, None)],
)
def test_the_resolution_a_unet_was_trained_for(tmp_path: Path, size: Any, resolution: int | None) -> None:
    base = write_pipeline(tmp_path, {"unet/config.json": {"sample_size": size}})
    assert describe_diffusion(str(base)).resolution == resolution


@pytest.mark.parametrize(
    ("tokenizer", "encoder", "length"),
    [(16, 77, 16), (10**30, 77, 77), (None, 32, 32), (32, None, 32), (None, None, 77)],
)
def test_how_long_a_text_is_read(tmp_path: Path, tokenizer: int | None, encoder: int | None, length: int) -> None:
    changes = {
        "tokenizer/tokenizer_config.json": {"model_max_length": tokenizer},
        "text_encoder/config.json": {"max_position_embeddings": encoder},
    }
    assert describe_diffusion(str(write_pipeline(tmp_path, changes))).text_length == length


@pytest.mark.parametrize("kind", ["StableDiffusionXLPipeline", "StableDiffusionInpaintPipeline", None])
def test_other_pipelines_are_named_and_refused(tmp_path: Path, kind: str | None) -> None:
    base = write_pipeline(tmp_path, {"model_index.json": {"_class_name": kind}})
    (base / "vae/config.json").unlink()  # another kind has other parts, and their absence is no news
    said = refusal(base)
    assert f"it is a pipeline of the class {kind}, and only StableDiffusionPipeline can be tuned" in said
    assert "vae" not in said


def test_parts_of_other_classes(tmp_path: Path) -> None:
    index = {"vae": ["diffusers", "AutoencoderTiny"], "unet": [None, None], "safety_checker": ["x", "Y"]}
    said = refusal(write_pipeline(tmp_path, {"model_index.json": index}))
    assert "model_index.json names None as its unet, where UNet2DConditionModel is needed" in said
    assert "names AutoencoderTiny as its vae, where AutoencoderKL is needed" in said
    assert "safety" not in said


def test_all_that_a_folder_lacks_at_once(tmp_path: Path) -> None:
    base = write_pipeline(tmp_path)
    (base / WEIGHTS[0]).rename(base / "unet/diffusion_pytorch_model.bin")
    (base / WEIGHTS[2]).unlink()
    (base / "scheduler/scheduler_config.json").write_text("[]")
    (base / "tokenizer/tokenizer_config.json").unlink()
    said = refusal(base)
    assert said.startswith(f"base_model = {str(base)!r}: ")
    for wrong in (
        "unet/ holds no .safetensors file",
        "text_encoder/ holds no .safetensors file",
        "scheduler/scheduler_config.json cannot be read",
        "tokenizer/tokenizer_config.json cannot be read",
        "StableDiffusionPipeline.save_pretrained",
    ):
        assert wrong in said
    assert "vae" not in said


@pytest.mark.parametrize("content", ["", "{", "3", "\udcff"])
def test_an_index_that_cannot_be_read(tmp_path: Path, content: str) -> None:
    base = write_pipeline(tmp_path)
    (base / "model_index.json").write_bytes(content.encode("utf-8", "surrogateescape"))
    assert "model_index.json cannot be read" in refusal(base)


def test_a_unet_that_takes_more_than_latents(tmp_path: Path) -> None:
    said = refusal(write_pipeline(tmp_path, {"unet/config.json": {"in_channels": 9}}))
    assert "its UNet takes 9 channels, and its VAE's latents have 4" in said
    assert "gives" not in said


@pytest.mark.parametrize("widths", [None, [], 8, [8, "8"], [8, 0]])
def test_blocks_without_widths(tmp_path: Path, widths: Any) -> None:
    changes = {file: {"block_out_channels": widths} for file in ("unet/config.json", "vae/config.json")}
    said = refusal(write_pipeline(tmp_path, changes))
    assert "unet/config.json has no block_out_channels; vae/config.json has no block_out_channels" in said


@pytest.mark.parametrize("name", ["/no/such/folder", "./base", "a/b/c", "with space"])
def test_neither_embedded_nor_folder_nor_hub_id(name: str) -> None:
    assert "neither the embedded pipeline (garment_sd), nor a folder, nor a hub id" in refusal(name)


def test_a_checkpoint_of_one_file_can_be_converted(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    file.touch()
    assert "from_single_file(file).save_pretrained(folder)" in refusal(file)


def test_a_hub_id_that_cannot_be_asked_for() -> None:
    assert "'no-such-owner/no-such-model': the hub cannot be asked for its model_index.json" in refusal(
        "no-such-owner/no-such-model"
    )


def test_a_hub_id_takes_the_small_files_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base, commit, asked = write_pipeline(tmp_path), "0" * 40, []

    def download(name: str, file: str, revision: str | None) -> str:
        assert (name, revision) == ("owner/name", commit)
        asked.append(file)
        return str(base / file)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    facts = describe_diffusion("owner/name", commit)
    assert (facts.source, facts.revision, facts.checksum) == ("owner/name", commit, f"revision {commit}")
    assert sorted(asked) == sorted(FILES)
    assert json.loads((base / "unet/config.json").read_text()) == facts.unet


def test_the_target_modules_there_are(tmp_path: Path) -> None:
    facts = describe_diffusion(str(write_pipeline(tmp_path / "two")))
    assert known_targets(facts) == (*ATTENTION, *FEED_FORWARD, *CONVOLUTION, *TEXT)
    unet = {
        "block_out_channels": [8],
        "down_block_types": ["DownBlock2D"],
        "up_block_types": ["UpBlock2D"],
        "mid_block_type": "UNetMidBlock2D",
    }
    bare = describe_diffusion(str(write_pipeline(tmp_path / "one", {"unet/config.json": unet})))
    assert known_targets(bare) == ("conv1", "conv2", "conv_in", "conv_out", "conv_shortcut", *TEXT)


@pytest.mark.slow
def test_the_names_are_those_of_the_real_modules(tmp_path: Path) -> None:
    from diffusers import UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    facts = describe_diffusion(str(write_pipeline(tmp_path)))
    unet = UNet2DConditionModel.from_config({**facts.unet, "norm_num_groups": 4, "cross_attention_dim": 8})
    text = CLIPTextModel(CLIPTextConfig(hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1))
    modules = [name for model in (unet, text) for name, module in model.named_modules() if hasattr(module, "weight")]
    for target in known_targets(facts):
        assert any(name == target or name.endswith(f".{target}") for name in modules), target


def test_no_torch_is_needed() -> None:
    code = "import sys, tuner.bases.diffusion; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_other_weights_in_a_folder_have_another_checksum(tmp_path: Path) -> None:
    write_pipeline(tmp_path)
    before = describe_diffusion(str(tmp_path)).checksum
    assert before == describe_diffusion(str(tmp_path)).checksum
    weights = next((tmp_path / "unet").glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes() + b"x")
    assert describe_diffusion(str(tmp_path)).checksum != before
