"""The ways to draw as folders that `tuner predict` opens, and how long and in how much memory each draws.

    base     the base as it is, with the settings of the LoRA
    prompt   the base with captions said as the best prompts say them: the folder of their study
    lora     the LoRA with captions as they are: the folder of its study
    both     the LoRA with captions said as the best prompts say them

Every way is opened afresh and alone, so that none is measured with what another left behind.
"""

from __future__ import annotations

import contextlib
import gc
import json
import shutil
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tuner.bases.pipeline import PictureBase
from tuner.device import Device, empty_cache, memory_used_mb, synchronize
from tuner.errors import StoreError
from tuner.lora.packed import Pack
from tuner.lora.parameters import ParameterStore
from tuner.store.files import write_json
from tuner.tasks.fashion.denoise import Denoiser
from tuner.tasks.fashion.drawing import Drawing
from tuner.tasks.fashion.predict import load_lora, pipeline_of
from tuner.tasks.fashion.replaced import replaced
from tuner.tasks.fashion.saving import DETAILS, LORA, MODEL, saved_facts

_LOOK = 0.02  # seconds between two looks at the memory


@dataclass(frozen=True)
class Drawn:
    """What one way drew, how many seconds a picture took, and the most memory in MB (2^20 bytes) meanwhile: of all of
    the process on a CPU, else of tensors on the device."""

    pictures: list[np.ndarray]
    seconds: float
    memory_mb: float


@dataclass
class _Peak:
    mb: float = 0.0
    done: threading.Event = field(default_factory=threading.Event)


def make_ways(folder: Path, prompt: Path, lora: Path) -> dict[str, Path]:
    """The folder of each way: those of the two studies' best, and FOLDER/base and FOLDER/both, made of these. Raises
    StoreError when the disk refuses, a study's folder is not what it was, or another folder is in the way."""
    details, prompts = read_details(lora), read_details(prompt)
    with replaced(folder / "base", DETAILS) as fresh:
        write_json(fresh / DETAILS, {**details, "train": "nothing"})
    with replaced(folder / "both", DETAILS) as fresh:
        told = {"prompts": prompts["prompts"], "negative_prompt": prompts["negative_prompt"]}
        write_json(fresh / DETAILS, {**details, **told})
        for part in (lora / LORA, lora / MODEL):
            if part.is_dir():
                shutil.copytree(part, fresh / part.name)
            elif part.is_file():
                shutil.copy2(part, fresh / part.name)
    return {"base": folder / "base", "prompt": prompt, "lora": lora, "both": folder / "both"}


def read_details(way: Path) -> dict[str, Any]:
    """What a way's tuner.json says. Raises StoreError for one that is damaged."""
    try:
        found = json.loads((way / DETAILS).read_text(encoding="utf-8"))
        if not isinstance(found, dict):
            raise ValueError("it holds no object")
        return found
    except (OSError, ValueError) as error:
        raise StoreError(f"{way / DETAILS} cannot be read: {error}. Tune again under another --name.") from error


def trained_mb(way: Path) -> float:
    """MB (10^6 bytes) of the weights on disk that were trained."""
    return sum(path.stat().st_size for path in [*way.glob(LORA), *(way / MODEL / "unet").glob("*.safetensors")]) / 1e6


def draw(way: Path, prompts: Sequence[str], seeds: Sequence[int], device: Device, dtype: torch.dtype) -> Drawn:
    """A picture of each prompt, from the noise of its seed, with a way's own settings. Raises BaseModelError and
    StoreError for what cannot be opened."""
    details = read_details(way)
    _tidy(device)
    drawing = _opened(way, details, device, dtype)
    bare = Pack(ParameterStore([], 1, device.torch), [], dtype, train=False)
    negative, guidance = str(details["negative_prompt"]), [float(details["guidance"])]
    drawing.draw(bare, [prompts[:1]], negative, guidance, seeds[:1])  # the first picture of all is slow
    with _peak(device) as peak:
        synchronize(device)
        started = time.perf_counter()
        pictures = drawing.draw(bare, [prompts], negative, guidance, seeds)[0]
        seconds = (time.perf_counter() - started) / len(prompts)
    del drawing
    _tidy(device)
    return Drawn(pictures, seconds, peak.mb)


def _opened(way: Path, details: Mapping[str, Any], device: Device, dtype: torch.dtype) -> Drawing:
    base = PictureBase.open(saved_facts(way, details), device.torch, dtype)
    # `whole` wraps no layer: a LoRA is the pipeline's own business here, as it is for everybody who loads it.
    denoiser = Denoiser(base, whole=True)
    if details["train"] == "lora":
        load_lora(pipeline_of(base), way)
        for parameter in (*base.unet.parameters(), *base.text_encoder.parameters()):
            parameter.data = parameter.data.to(dtype)  # a LoRA comes in fp32
    return Drawing(denoiser, int(details["resolution"]), int(details["inference_steps"]))


def _tidy(device: Device) -> None:
    gc.collect()
    empty_cache(device)


@contextlib.contextmanager
def _peak(device: Device) -> Iterator[_Peak]:
    """The most memory in use within the block, by looking every few milliseconds."""
    peak = _Peak()

    def look() -> None:
        while True:
            peak.mb = max(peak.mb, memory_used_mb(device))
            if peak.done.wait(_LOOK):
                return

    thread = threading.Thread(target=look, name="memory", daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        peak.done.set()
        thread.join()
        peak.mb = max(peak.mb, memory_used_mb(device))
