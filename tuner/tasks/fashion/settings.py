"""The task's own hyperparameters: their defaults, what each may be, and those that a whole study shares.

Knows nothing of the base; the rules of prompts are `prompts.plan_problems`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

from tuner.config import Choice, Constant, Entry, StudyConfig
from tuner.config_space import describe
from tuner.errors import ConfigError, Problem

DEFAULTS: Mapping[str, Any] = {
    "mode": "finetune",
    "resolution": None,  # the base's own
    "inference_steps": 25,
    "guidance": 7.5,
    "snr_gamma": None,  # every level of noise weighs the same
    "ema": True,
    "train": "lora",
    "similarity": "category",
    "clip_model": "garment_clip",
    "negative_prompt": "",
    "offset_noise": 0.0,
    # of the mode that writes prompts
    "strategy": "detailed",
    "confidence_threshold": 0.3,
    "max_features": 5,
    "negative": "none",
    "quality_words": False,
}
"""What a space does not name has this value."""

MODES = ("finetune", "prompt", "pipeline")
TRAINED = ("lora", "full")
SIMILARITIES = ("category", "embedding")
SMALLEST, LARGEST = 32, 2048  # pixels a side
MOST_STEPS = 1000


@dataclass(frozen=True)
class Settings:
    """What all trials of a study share, lest their scores not compare. `resolution` is in pixels a side, None for the
    base's own."""

    mode: str
    resolution: int | None
    inference_steps: int
    train: str
    similarity: str
    clip_model: str
    negative_prompt: str


SHARED = tuple(field.name for field in fields(Settings))


def settings_of(config: StudyConfig) -> Settings:
    """What a study's trials share. Raises ConfigError for each that is searched, or has a value that it cannot have."""
    if problems := list(setting_problems(config, SHARED)):
        raise ConfigError(problems)
    entries = {name: config.space.get(name) for name in SHARED}
    return Settings(
        **{name: entry.value if isinstance(entry, Constant) else DEFAULTS[name] for name, entry in entries.items()}
    )


def setting_problems(config: StudyConfig, names: Iterable[str]) -> Iterator[Problem]:
    """What is wrong with these hyperparameters in the space: searched where one value is for all, or values, or ends of
    a range, that they cannot have. Those without a rule here are passed over."""
    for name in names:
        entry = config.space.get(name)
        if entry is None or name not in _RULES:
            continue
        if name in SHARED and not isinstance(entry, Constant):
            shown = entry.values if isinstance(entry, Choice) else describe(entry)
            cure = f"Write {name}: and its value; another value takes another study."
            yield Problem(f"space.{name}", shown, "one value for the whole study", cure)
            continue
        allowed, rule, cure = _RULES[name]
        for where, value in _places(name, entry):
            if not allowed(value):
                yield Problem(where, value, rule, cure)


def _places(name: str, entry: Entry) -> Iterator[tuple[str, Any]]:
    """Every value of an entry, or its ends, and where it stands."""
    if isinstance(entry, Constant):
        yield f"space.{name}", entry.value
    elif isinstance(entry, Choice):
        yield from ((f"space.{name}.values[{place}]", value) for place, value in enumerate(entry.values))
    else:
        yield from ((f"space.{name}.{end}", getattr(entry, end)) for end in ("low", "high"))


def is_whole(value: Any) -> bool:
    """A whole number, and not True."""
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _words(known: tuple[str, ...]) -> tuple[Callable[[Any], bool], str, str]:
    return known.__contains__, f"must be one of {', '.join(known)}", f"{known[0]} is the default."


# name -> whether a value is allowed, the rule in words, the cure
_RULES: Mapping[str, tuple[Callable[[Any], bool], str, str]] = {
    "mode": _words(MODES),
    "resolution": (
        lambda v: v is None or (is_whole(v) and SMALLEST <= v <= LARGEST),
        f"must be a whole number of pixels from {SMALLEST} to {LARGEST}",
        "Leave it out for the base's own.",
    ),
    "inference_steps": (
        lambda v: is_whole(v) and 1 <= v <= MOST_STEPS,
        f"must be a whole number from 1 to {MOST_STEPS}",
        "Try 20 to 50.",
    ),
    "guidance": (lambda v: _is_number(v) and 1 <= v <= 50, "must be a number from 1, for none, to 50", "Try 3 to 10."),
    "snr_gamma": (
        lambda v: v is None or (_is_number(v) and v > 0),
        "must be a number above 0, or null for none",
        "5 is usual.",
    ),
    "ema": (lambda v: isinstance(v, bool), "must be true or false", "true is the default."),
    "train": _words(TRAINED),
    "similarity": _words(SIMILARITIES),
    "clip_model": (
        lambda v: isinstance(v, str) and bool(v.strip()),
        "must be garment_clip, a folder or hf-hub:owner/name",
        "garment_clip is the default.",
    ),
    "negative_prompt": (lambda v: isinstance(v, str), "must be text", 'Write "" for none.'),
    "offset_noise": (lambda v: _is_number(v) and 0 <= v <= 1, "must be a number from 0 to 1", "Try 0.05."),
}
