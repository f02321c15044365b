"""A toy world for tests of fashion images: a random Stable Diffusion pipeline and a random open_clip model, both of a
few thousand parameters, and drawn garments of 32 x 32 pixels. Built on the spot, a function of a seed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from tests.engine.toy import task_device
from tuner import tasks
from tuner.config import StudyConfig
from tuner.config_rules import COMMON_HYPERPARAMETERS
from tuner.engine.contract import TrialSpec
from tuner.engine.packing import Packing
from tuner.lora.packed import Member, Pack
from tuner.tasks.fashion.rows import FashionData, embedded_rows
from tuner.tasks.fashion.task import FashionTask
from tuner.tasks.task import Prepared

SIDE = 32  # pixels
CLOCKS = {"predict_runtime", "predict_samples_per_second", "predict_model_preparation_time"}
EVERYWHERE = ["to_q", "to_k", "to_v", "to_out.0", "conv1", "conv_in", "q_proj", "fc1"]


def make_tokenizer(length: int = 16) -> Any:
    """A CLIP tokenizer that spells every word."""
    from tokenizers import pre_tokenizers
    from transformers import CLIPTokenizer

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(vocab={word: n for n, word in enumerate(words)}, merges=[], model_max_length=length)


def make_base(folder: Path, seed: int = 3, prediction: str = "epsilon", widths: tuple[int, int] = (8, 16)) -> Path:
    """A pipeline as `save_pretrained` writes it: f = 2 latents of 4 channels, a UNet of two blocks."""
    from diffusers import AutoencoderKL, DPMSolverMultistepScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    torch.manual_seed(seed)
    tokenizer = make_tokenizer()
    unet = UNet2DConditionModel(
        sample_size=SIDE // 2,
        layers_per_block=1,
        block_out_channels=widths,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=12,
        attention_head_dim=2,
        norm_num_groups=4,
    )
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(8, 8),
        latent_channels=4,
        norm_num_groups=4,
        sample_size=SIDE,
    )
    text = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=12,
            intermediate_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=16,
            projection_dim=12,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
    )
    pipe = StableDiffusionPipeline(
        unet=unet,
        vae=vae,
        text_encoder=text,
        tokenizer=tokenizer,
        scheduler=DPMSolverMultistepScheduler(prediction_type=prediction, use_karras_sigmas=True, steps_offset=1),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipe.save_pretrained(str(folder), safe_serialization=True)
    return folder


def make_clip(folder: Path, seed: int = 5) -> Path:
    """An open_clip folder."""
    from open_clip import CLIP

    torch.manual_seed(seed)
    tokenizer = make_tokenizer()
    text = {"context_length": 16, "vocab_size": len(tokenizer), "width": 16, "heads": 2, "layers": 1}
    config = {
        "embed_dim": 16,
        "vision_cfg": {"image_size": SIDE, "layers": 1, "width": 16, "head_width": 8, "patch_size": 8},
        "text_cfg": text,
    }
    model = CLIP(config["embed_dim"], config["vision_cfg"], text)
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: value.contiguous() for name, value in model.state_dict().items()},
              folder / "open_clip_model.safetensors")  # fmt: skip
    named = {**config, "text_cfg": {**text, "hf_tokenizer_name": "tokenizer"}}
    (folder / "open_clip_config.json").write_text(
        json.dumps({"model_cfg": named, "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.5] * 3}}), encoding="utf-8"
    )
    tokenizer.save_pretrained(str(folder))
    return folder


def make_config(base: Path, clip: Path, **changes: Any) -> StudyConfig:
    """A study on a toy base, in fp32 on the CPU. What `changes` names in the space goes over what stands there."""
    space = {
        "rank": 4,
        "learning_rate": 1e-3,
        "epochs": 1,
        "inference_steps": 3,
        "guidance": 2.0,
        "clip_model": str(clip),
        **changes.pop("space", {}),
    }
    content = {
        "task": "fashion",
        "name": "toy",
        "base_model": str(base),
        "space": space,
        "search": {"trials": 2, "reports_per_epoch": 1, "asha": None, **changes.pop("search", {})},
        "devices": ["cpu"],
        "precision": "fp32",
        **changes,
    }
    return StudyConfig.model_validate(content)


def make_data(counts: Sequence[int] = (10, 4, 4)) -> FashionData:
    """Drawn rows of one style."""
    return embedded_rows("pastel romantic", dict(zip(("train", "validation", "test"), counts, strict=True)), SIDE)


def make_spec(trial_id: str = "a", seed: int = 1, **params: Any) -> TrialSpec:
    """A trial with the common hyperparameters and the task's own, but for those named here."""
    own = dict(tasks.spec("fashion").hyperparameters)
    chosen = {**COMMON_HYPERPARAMETERS, **own, "rank": 4, "learning_rate": 1e-3, "epochs": 1, "guidance": 2.0, **params}
    return TrialSpec(trial_id, chosen, seed)


def make_packing(base: Path, clip: Path, max_pack: int = 4, **changes: Any) -> Packing:
    """The training loop on a toy base, in this thread."""
    config = make_config(base, clip, **changes)
    task = FashionTask(config, task_device(), Prepared(make_data(), {}))
    spec = tasks.spec("fashion")
    return Packing(task, spec.for_rows({"trains": config.space.get("mode") is None}), config, task_device(), max_pack)


def far(packing: Packing, size: float = 0.3) -> None:
    """Bring every trial as far from its start as a long training would."""
    generator = torch.Generator().manual_seed(3)
    for trial in packing.trials.values():
        tensors = packing.store.tensors(trial.slot)
        moved = {name: torch.randn(value.shape, generator=generator) * size for name, value in tensors.items()}
        packing.store.layout.fill(packing.store.weights[trial.slot], moved)
        packing.store.restore(trial.slot, "average", moved)


def pack_of(packing: Packing, *ids: str) -> Pack:
    """These trials at rest; none are the base alone."""
    trials = [packing.trials[i] for i in ids]
    members = [Member(trial.slot, trial.plan.scale, params=trial.plan.spec.params) for trial in trials]
    return Pack(packing.store, members, torch.float32, train=False)


def save(packing: Packing, folder: Path, trial_id: str = "a") -> Path:
    """A trial's adapter as a folder."""
    tensors, params = packing.adapter(trial_id, "last")
    packing.task.save(folder, tensors, params)
    return folder


def plain_pipeline(base: Path) -> Any:
    """The base as anybody would open it."""
    from diffusers import StableDiffusionPipeline

    pipe = StableDiffusionPipeline.from_pretrained(str(base), use_safetensors=True)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def drawn_by(pipe: Any, prompt: str, seed: int, **options: Any) -> np.ndarray:
    """A pipeline's picture (H, W, 3), fp32 in 0..1."""
    with torch.no_grad():
        found: Mapping[str, Any] = pipe(
            prompt,
            num_inference_steps=3,
            generator=torch.Generator().manual_seed(seed),
            output_type="np",
            height=SIDE,
            width=SIDE,
            **options,
        )
    return np.asarray(found["images"][0])
