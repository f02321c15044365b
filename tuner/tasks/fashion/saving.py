"""A trained adapter as a folder: LoRA weights that any diffusers pipeline loads, or the pipeline of a full fine-tune.

pytorch_lora_weights.safetensors   LoRA, with its configuration (rank, alpha, modules) in the file's own metadata:
                                   without that, a pipeline takes alpha for the rank and draws other pictures
fashion_sd_model/                  all of the pipeline, where all of the UNet was trained
prompts.json                       the prompts that were found, where they were searched and no weight was trained
tuner.json                         the base, and how pictures were drawn
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from tuner.bases.diffusion import DiffusionFacts, describe_diffusion
from tuner.bases.pipeline import assembled, write_pipeline
from tuner.tasks.fashion.denoise import TEXT_ENCODER, UNET, Denoiser
from tuner.tasks.fashion.features import Feature
from tuner.tasks.fashion.prompts import PromptPlan, PromptResult, to_json
from tuner.tasks.fashion.sampling import make_scheduler
from tuner.tasks.fashion.settings import DEFAULTS, Settings

LORA = "pytorch_lora_weights.safetensors"
MODEL = "fashion_sd_model"
PROMPTS = "prompts.json"
DETAILS = "tuner.json"


def save_adapter(
    directory: Path,
    tensors: Mapping[str, torch.Tensor],
    params: Mapping[str, Any],
    denoiser: Denoiser,
    settings: Settings,
    resolution: int,
) -> None:
    """Write it."""
    directory.mkdir(parents=True, exist_ok=True)
    details = _details(params, denoiser.base.facts, settings, resolution)
    if denoiser.whole:
        _save_whole(directory / MODEL, tensors, denoiser)
        details["model_checksum"] = describe_diffusion(str(directory / MODEL)).checksum
    else:
        _save_lora(directory, tensors, params, denoiser)
    _write(directory / DETAILS, details)


def save_prompts(
    directory: Path,
    results: Sequence[PromptResult],
    plan: PromptPlan,
    common: Sequence[Feature],
    params: Mapping[str, Any],
    facts: DiffusionFacts,
    settings: Settings,
    resolution: int,
) -> None:
    """Write what was found in place of an adapter: the prompts of held-out pictures with their similarities, and what
    the training pictures have in common, for prompts that have no picture."""
    directory.mkdir(parents=True, exist_ok=True)
    _write(directory / PROMPTS, to_json(results, plan))
    shown = {"plan": asdict(plan), "common": [asdict(feature) for feature in common]}
    negative = plan.negative_or(settings.negative_prompt)
    details = _details(params, facts, settings, resolution)
    _write(directory / DETAILS, {**details, "train": "nothing", "negative_prompt": negative, "prompts": shown})


def _details(params: Mapping[str, Any], facts: DiffusionFacts, settings: Settings, resolution: int) -> dict[str, Any]:
    return {
        "task": "fashion",
        "base_model": facts.name,
        "revision": facts.revision,
        "checksum": facts.checksum,
        "train": settings.train,
        "resolution": resolution,
        "inference_steps": settings.inference_steps,
        "guidance": float({**DEFAULTS, **params}["guidance"]),
        "negative_prompt": settings.negative_prompt,
        "clip_model": settings.clip_model,
    }


def _write(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _save_lora(
    directory: Path, tensors: Mapping[str, torch.Tensor], params: Mapping[str, Any], denoiser: Denoiser
) -> None:
    from diffusers import StableDiffusionPipeline
    from peft import LoraConfig

    layers: dict[str, dict[str, torch.Tensor]] = {UNET: {}, TEXT_ENCODER: {}}
    for name, value in tensors.items():
        site, _, half = name.rpartition(".")
        part = UNET if site.startswith(UNET) else TEXT_ENCODER
        module = site[len(part) :]
        layers[part][f"{module}.lora_{half}.weight"] = _shaped(value, half, denoiser.kernels.get(module)).contiguous()
    configs = {}
    for part, found in layers.items():
        modules = sorted({name.partition(".lora_")[0] for name in found})
        config = LoraConfig(
            r=int(params["rank"]),
            lora_alpha=params["alpha"],
            lora_dropout=float(params["dropout"]),
            target_modules=modules,
        ).to_dict()
        # sets do not go into JSON
        configs[part] = {name: sorted(value) if isinstance(value, set) else value for name, value in config.items()}
    StableDiffusionPipeline.save_lora_weights(
        directory,
        unet_lora_layers=layers[UNET],
        text_encoder_lora_layers=layers[TEXT_ENCODER],
        unet_lora_adapter_metadata=configs[UNET] if layers[UNET] else None,
        text_encoder_lora_adapter_metadata=configs[TEXT_ENCODER] if layers[TEXT_ENCODER] else None,
    )
    if (directory / LORA).exists():
        (directory / LORA).chmod(0o644)


def _shaped(value: torch.Tensor, half: str, kernel: tuple[int, int] | None) -> torch.Tensor:
    """A or B as PEFT has it: (r, in) and (out, r), of a convolution (r, in, k, k) and (out, r, 1, 1)."""
    if kernel is None:
        return value
    return value.unflatten(1, (-1, *kernel)) if half == "A" else value[..., None, None]


def _save_whole(directory: Path, tensors: Mapping[str, torch.Tensor], denoiser: Denoiser) -> None:
    base = denoiser.base
    unet = copy.deepcopy(base.unet).float().cpu()
    parameters = dict(unet.named_parameters())
    with torch.no_grad():
        for name, difference in tensors.items():
            parameter = parameters[name[len(UNET) :]]
            parameter += difference.reshape(parameter.shape)
    text, vae = copy.deepcopy(base.text_encoder).cpu(), copy.deepcopy(base.vae).cpu()
    write_pipeline(assembled(unet, text, vae, base.tokenizer, make_scheduler(base.scheduler)), directory)


def saved_facts(folder: Path, details: Mapping[str, Any]) -> DiffusionFacts:
    """The pipeline that a saved folder draws with: its own after a full fine-tune, else its base. `details` are what
    `tuner.json` says. Raises BaseModelError."""
    if details["train"] == "full":
        return describe_diffusion(str(folder / MODEL))
    return describe_diffusion(details["base_model"], details.get("revision"))
