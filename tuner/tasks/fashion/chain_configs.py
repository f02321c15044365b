"""The configs of the two studies that a pipeline is: what each takes from the pipeline's own. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tuner.config import Constant, Entry, StudyConfig
from tuner.config_space import contains
from tuner.tasks.fashion.settings import SHARED

OF_PROMPTS = ("strategy", "confidence_threshold", "max_features", "negative", "quality_words")
"""Hyperparameters of the study of prompts alone."""
SAME = tuple(name for name in SHARED if name not in ("mode", "train"))
"""Hyperparameters that must be one for both studies, lest their pictures not compare."""


def prompt_config(config: StudyConfig, own: StudyConfig, *, usual: int) -> StudyConfig:
    """The study of prompts: the mode's `own` config on the pipeline's data, base, devices and results. Of the search it
    takes the pipeline's seed, time and concurrency. Its trials are the mode's own number where the pipeline has its
    `usual` one, that of the space that comes along, else as many as the pipeline was asked for. What the pipeline's
    space says of prompts, of guidance and of what both studies share goes before the mode's own. Raises ConfigError."""
    space = {name: entry for name, entry in own.space.items() if name not in SAME}
    space |= {name: entry for name, entry in config.space.items() if name in (*OF_PROMPTS, *SAME, "guidance")}
    search, wanted = own.search, config.search
    changes = {
        "seed": wanted.seed,
        "concurrent": wanted.concurrent,
        "time_budget_minutes": wanted.time_budget_minutes,
        "trials": search.trials if wanted.trials == usual else wanted.trials,
    }
    taken = ("base_model", "revision", "data", "memory", "devices", "precision", "results")
    return _made(
        own,
        space,
        **{name: getattr(config, name) for name in taken},
        name=f"{config.name}-prompt",
        search=search.model_copy(update=changes),
    )


def lora_config(config: StudyConfig, samples: Path) -> StudyConfig:
    """The study of LoRA: the pipeline's config on the samples, without what is of prompts. Raises ConfigError."""
    space = {name: entry for name, entry in config.space.items() if name not in (*OF_PROMPTS, "mode")}
    return _made(config, space, name=f"{config.name}-finetune", data={"source": str(samples)})


def _made(config: StudyConfig, space: Mapping[str, Entry], **changes: Any) -> StudyConfig:
    """The config with another space and other parts, whole and checked. Start points keep what still lies in it."""
    points: list[dict[str, Any]] = []
    for point in config.start_points:
        kept = {name: value for name, value in point.items() if name in space and contains(space[name], value)}
        searched = {name for name in kept if not isinstance(space[name], Constant)}
        if searched and kept not in points:
            points.append(kept)
    content = {**dict(config), "space": dict(space), "start_points": points, **changes}
    return StudyConfig.model_validate(content)
