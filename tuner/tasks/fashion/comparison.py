"""Four ways to the same pictures, side by side: which to use, in words, and all of it as JSON.

results/<name>/comparison.json:

task, base_model, device, dtype   what was compared, and where
rows                              held-out test pictures that every way drew, each from the noise of its own caption
memory                            whose memory is counted: "process" (all of it) or "device" (tensors on a GPU)
studies                           the names of the two studies, by mode
ways                              by name, the cheapest first: title; ssim, fashion_clip (in the form of the study),
                                  fashion_clip_category, fashion_clip_embedding, colour, total_loss (means over the
                                  rows); seconds_per_picture; peak_memory_mb (2^20 bytes, while drawing); trained_mb
                                  (10^6 bytes on disk); training_seconds (of the adapter that was kept);
                                  search_seconds (of the studies it needs, from start to
                                  end, pauses included); command
best, recommendation              the way to use, and why
pictures                          of each row: caption, prompt (the caption as the ways with prompts say it, with what
                                  the training pictures have in common), seed, total_loss by way

A value that was not measured is null. Knows no model. Imports no torch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tuner.score_benchmark import TOTAL_LOSS
from tuner.tasks.chain import Way

TITLES: Mapping[str, str] = {"base": "base", "prompt": "prompt only", "lora": "LoRA", "both": "LoRA + prompts"}
"""The ways, in the order of what they cost to make and to keep."""
COLUMNS: Mapping[str, str] = {
    "ssim": "SSIM",
    "fashion_clip": "FashionCLIP",
    "fashion_clip_category": "by category",
    "fashion_clip_embedding": "by embedding",
    "colour": "colour",
    TOTAL_LOSS: "total loss",
    "seconds_per_picture": "s a picture",
    "peak_memory_mb": "peak MB",
    "trained_mb": "trained MB",
    "training_seconds": "training s",
    "search_seconds": "search s",
}
TOLERANCE = 0.02
"""Losses this near to the lowest, as a share of it, count as equal: other seeds would move them as far."""


@dataclass(frozen=True)
class Setting:
    """What was compared, and where. `device` is its name with its label; `memory` "process" or "device"; `studies` the
    names of the two studies by mode."""

    base_model: str
    device: str
    dtype: str
    memory: str
    studies: Mapping[str, str]


@dataclass(frozen=True)
class Picture:
    """One held-out row as every way drew it. `losses` are by the ways' names."""

    caption: str
    prompt: str
    seed: int
    losses: Mapping[str, float]


def recommend(losses: Mapping[str, float]) -> str:
    """The way to use by the total loss of each, the cheapest first: the cheapest whose loss is at most `TOLERANCE`
    above the lowest. NaN counts as worse than any; where nothing was measured, the cheapest."""
    known = {name: loss if math.isfinite(loss) else math.inf for name, loss in losses.items()}
    limit = min(known.values()) * (1 + TOLERANCE)
    return next(name for name, loss in known.items() if loss <= limit)


def in_words(ways: Sequence[Way], best: str, setting: Setting) -> str:
    """Why that way, what it costs as measured, and the command that uses it."""
    by_name = {way.name: way for way in ways}
    chosen, losses = by_name[best], {way.name: way.values[TOTAL_LOSS] for way in ways}
    lowest = min(losses, key=lambda name: losses[name] if math.isfinite(losses[name]) else math.inf)
    others = ", ".join(f"{by_name[name].title} {_number(loss)}" for name, loss in losses.items() if name != best)
    if not math.isfinite(losses[best]):
        why = "no total loss could be measured, and it is the cheapest."
    elif lowest == best:
        why = f"its total loss of {_number(losses[best])} is the lowest ({others})."
    else:
        why = (
            f"its total loss of {_number(losses[best])} is within {TOLERANCE:.0%} of the lowest, that of "
            f"{by_name[lowest].title} ({others}), and it costs less."
        )
    values = chosen.values
    quality = (
        f"SSIM {_number(values['ssim'])}, FashionCLIP {_number(values['fashion_clip'])}, "
        f"colour {_number(values['colour'])}"
    )
    whose = "of the process" if setting.memory == "process" else "of tensors on the device"
    trained = (
        f"{values['trained_mb']:.2f} MB of weights were trained, in {values['training_seconds']:.0f} s"
        if values["trained_mb"]
        else "no weight was trained"
    )
    return (
        f"Use {chosen.title}: {why} Its pictures: {quality}. On {setting.device} in {setting.dtype} a picture takes "
        f"{values['seconds_per_picture']:.2f} s and {values['peak_memory_mb']:,.0f} MB {whose}; {trained}. "
        f"To use it: {chosen.command}"
    )


def to_json(
    setting: Setting, ways: Sequence[Way], best: str, recommendation: str, pictures: Sequence[Picture]
) -> dict[str, Any]:
    """The content of comparison.json, as this module's head describes it."""
    return {
        "task": "fashion",
        "base_model": setting.base_model,
        "device": setting.device,
        "dtype": setting.dtype,
        "rows": len(pictures),
        "memory": setting.memory,
        "studies": dict(setting.studies),
        "ways": {way.name: {"title": way.title, **way.values, "command": way.command} for way in ways},
        "best": best,
        "recommendation": recommendation,
        "pictures": [
            {"caption": each.caption, "prompt": each.prompt, "seed": each.seed, TOTAL_LOSS: dict(each.losses)}
            for each in pictures
        ],
    }


def _number(value: float) -> str:
    return f"{value:.3f}" if math.isfinite(value) else "not measured"
