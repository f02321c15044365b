"""Fashion image generation: pictures of garments in a style, drawn by a Stable Diffusion UNet with LoRA, or by better
prompts alone."""

from __future__ import annotations

from tuner.config import BandConfig
from tuner.score import DEFAULT_BANDS
from tuner.score_fashion import FASHION
from tuner.tasks.fashion.settings import DEFAULTS
from tuner.tasks.task import TaskSpec

SPEC = TaskSpec(
    name="fashion",
    title="Fashion image generation",
    quality="ssim",
    preservation="fashion_clip",
    bands={
        # MB of trainable parameters per optimizer step; a base's search space may know better edges
        "efficiency": BandConfig(excellent=0.15, good=0.25, average=0.35, higher_is_better=False),
        # structure as in the reference, 1 for the same picture
        "quality": DEFAULT_BANDS["ssim"],
        # the same garment as in the reference, as surely seen
        "preservation": DEFAULT_BANDS["fashion_clip"],
        "colour": DEFAULT_BANDS["colour"],
        "total_loss": DEFAULT_BANDS["total_loss"],
    },
    bases={
        "garment_sd": "garment_sd",
        "sd15": "stable-diffusion-v1-5/stable-diffusion-v1-5",
    },
    default_space="garment_sd",
    modes={"finetune": "garment_sd", "prompt": "garment_prompt", "pipeline": "garment_pipeline"},
    chains={"pipeline": "tuner.tasks.fashion.pipeline:Pipeline"},
    preparation="tuner.tasks.fashion.prepare:prepare",
    implementation="tuner.tasks.fashion.task:FashionTask",
    served="tuner.tasks.fashion.serving:ServedPictures",
    speaks="images",
    usage="tuner.tasks.fashion.usage:usage",
    columns={"caption": "text"},
    hyperparameters=DEFAULTS,
    example="a pastel romantic dress",
    benchmark=FASHION,
)
