"""A saved fashion adapter, drawing: a plain diffusers pipeline with the LoRA loaded, as anybody would use it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open

from tuner.bases.clip import ClipModel
from tuner.bases.load import quiet
from tuner.bases.pipeline import PictureBase, assembled
from tuner.errors import StoreError
from tuner.tasks.fashion.denoise import TEXT_ENCODER, UNET
from tuner.tasks.fashion.judge import PictureJudge
from tuner.tasks.fashion.prompting import Prompting
from tuner.tasks.fashion.reading import Reading
from tuner.tasks.fashion.sampling import make_scheduler, seed_of
from tuner.tasks.fashion.saved import SavedDetails
from tuner.tasks.fashion.saving import LORA, MODEL, saved_facts


class FashionPredictor:
    """Implements `Predictor` and `Drawing`, in fp32 on the CPU. Raises StoreError if the folder is not an adapter,
    BaseModelError for its base."""

    def __init__(self, adapter: Path) -> None:
        saved = SavedDetails.open(adapter)
        self.steps, self.guidance, self.resolution = saved.steps, saved.guidance, saved.side
        self.negative, self.plan, self.common = saved.negative_prompt, saved.plan, saved.common
        self._clip = saved.clip_model
        whole = saved.train == "full"
        facts = saved_facts(adapter, saved.told)
        if whole and facts.checksum != saved.told.get("model_checksum"):
            raise StoreError(f"{adapter}/{MODEL} is not what was saved there: its checksum differs. Tune again.")
        if not whole and facts.checksum != saved.checksum:
            raise StoreError(
                f"{adapter} was trained on another {saved.base_model}: its checksum was {saved.checksum}, and this one "
                f"has {facts.checksum}. Tune again, or bring that base back."
            )
        self.pipe = pipeline_of(PictureBase.open(facts, torch.device("cpu"), torch.float32))
        if saved.train == "lora":
            load_lora(self.pipe, adapter)

    @cached_property
    def judge(self) -> PictureJudge:
        """What names the garments in pictures; opened when it is first asked, since drawing needs none. Raises
        BaseModelError."""
        return PictureJudge(ClipModel.open(self._clip, torch.device("cpu")), "category")

    def predict(self, inputs: Sequence[str]) -> list[dict[str, Any]]:
        """What is seen in the picture of each prompt, and the seconds it took."""
        found = []
        for prompt in inputs:
            started = time.perf_counter()
            picture = self.draw(prompt)
            seconds = round(time.perf_counter() - started, 3)
            found.append({"answer": self.judge.names([picture])[0], "seconds": seconds})
        return found

    def draw(self, prompt: str, seed: int | None = None) -> np.ndarray:
        """The picture (H, W, 3), uint8, of a prompt; the seed is by default the prompt's own. Where prompts were
        searched, what the training pictures have in common is said with it (`Prompting.asked`)."""
        generator = torch.Generator().manual_seed(seed_of(prompt) if seed is None else seed)
        asked = Prompting.asked(self.plan, prompt, self.common) if self.plan else prompt
        with _quiet(), torch.no_grad():
            shown = self.pipe(
                asked,
                negative_prompt=self.negative,
                num_inference_steps=self.steps,
                guidance_scale=self.guidance,
                height=self.resolution,
                width=self.resolution,
                generator=generator,
                output_type="np",
            ).images[0]
        return (np.asarray(shown) * 255).round().astype(np.uint8)

    def unread(self, prompt: str) -> str:
        """What stands behind the last word of a prompt for which the text encoder has room."""
        return Reading(self.pipe.tokenizer).unread(prompt)


@contextmanager
def _quiet() -> Iterator[None]:
    """diffusers tells that a prompt is cut off, which `unread` is for, and that a LoRA has no half for the text
    encoder, which it need not have."""
    from diffusers.utils import logging

    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        with quiet():
            yield
    finally:
        logging.set_verbosity(verbosity)


def pipeline_of(base: PictureBase) -> Any:
    """A diffusers pipeline of these models, which draws as evaluation does."""
    return assembled(base.unet, base.text_encoder, base.vae, base.tokenizer, make_scheduler(base.scheduler))


def load_lora(pipe: Any, adapter: Path) -> None:
    """Put a saved LoRA on a pipeline. Raises StoreError if it does not fit."""
    parts = {UNET: pipe.unet, TEXT_ENCODER: pipe.text_encoder}
    known = {prefix + name for prefix, model in parts.items() for name, _ in model.named_modules()}
    try:
        with safe_open(adapter / LORA, framework="pt") as file:
            modules = {name.partition(".lora_")[0] for name in file.keys()}  # noqa: SIM118 (it is no mapping)
        if unknown := sorted(modules - known):  # which a pipeline leaves out, and draws without
            raise ValueError(f"it has no {unknown[0]}")
        with _quiet():
            pipe.load_lora_weights(str(adapter), weight_name=LORA)
    except (OSError, ValueError, RuntimeError, LookupError, TypeError, SafetensorError) as error:
        reason = str(error).strip().split("\n")[0]
        raise StoreError(f"{adapter} does not fit its base: {reason}") from error
