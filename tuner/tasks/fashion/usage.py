"""How what a fashion study leaves is opened by others, for its model card. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tuner.tasks.fashion.settings import DEFAULTS
from tuner.tasks.task import Usage

_PIPELINE = ("from diffusers import StableDiffusionPipeline", "")
_EMBEDDED = "from tuner.bases.diffusion import describe_diffusion"


def usage(base: str, space: Mapping[str, Any]) -> Usage:
    """For the base as a config names it and the space's constants by name."""
    opened = f'"{base}"'
    head = list(_PIPELINE)
    if base == "garment_sd":  # no hub id: its folder was installed with the tuner
        head.insert(1, _EMBEDDED)
        opened = f'describe_diffusion("{base}").source'
    steps = f"num_inference_steps={space.get('inference_steps', DEFAULTS['inference_steps'])}"
    draw = f'pipe("a pastel romantic dress", {steps}).images[0].save("dress.png")'
    if space.get("mode") == "prompt":
        code = [
            "import json",
            *head,
            f"pipe = StableDiffusionPipeline.from_pretrained({opened})",
            'found = json.load(open("prompts.json"))  # in the folder of this card',
            f'picture = pipe(found["optimized_prompt"], negative_prompt=found["negative_prompt"], {steps}).images[0]',
            'picture.save("dress.png")',
        ]
    elif space.get("train") == "full":
        code = [*_PIPELINE, 'pipe = StableDiffusionPipeline.from_pretrained("fashion_sd_model")', draw]
    else:
        code = [
            *head,
            f"pipe = StableDiffusionPipeline.from_pretrained({opened})",
            'pipe.load_lora_weights(".")  # the folder of this card',
            draw,
        ]
    return Usage("diffusers", "text-to-image", tuple(code))
