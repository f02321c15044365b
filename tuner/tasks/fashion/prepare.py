"""All that can be checked and read before a model loads: the base's facts, the search space, the model that judges
pictures, the rows. Imports no torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tuner.bases import clip
from tuner.bases.diffusion import ATTENTION, DiffusionFacts, describe_diffusion, known_targets
from tuner.config import Constant, StudyConfig
from tuner.config_memory import base_saver_problems
from tuner.data.findings import note_finding
from tuner.errors import ConfigError, Problem
from tuner.tasks.fashion.prompts import plan_problems
from tuner.tasks.fashion.rows import FashionData, PictureRow
from tuner.tasks.fashion.settings import (
    DEFAULTS,
    LARGEST,
    SMALLEST,
    Settings,
    is_whole,
    setting_problems,
    settings_of,
)
from tuner.tasks.fashion.sources import load_pictures
from tuner.tasks.space_checks import rank_problems, target_problems, values_of
from tuner.tasks.task import Prepared

__all__ = ["DEFAULTS", "Settings", "prepare", "settings_of", "targets_of"]


def prepare(config: StudyConfig) -> Prepared:
    """Check base, space and rows. Raises BaseModelError, ConfigError, DataError; the base is looked at before the
    rows are read."""
    facts = describe_diffusion(config.base_model, config.revision)
    targets = known_targets(facts)
    problems = [
        *setting_problems(config, DEFAULTS),
        *plan_problems({name: values_of(config.space[name], None) for name in DEFAULTS if name in config.space}),
        *_base_problems(config, facts),
        *rank_problems(config, facts.width),
        *target_problems(config, targets.__contains__, targets),
        *base_saver_problems(config.memory, config.task),
    ]
    if problems:
        raise ConfigError(problems)
    settings = settings_of(config)
    clip.check_clip(settings.clip_model)
    # Were there no resolution, that would be one of the problems.
    loaded = load_pictures(config.data, _resolution(settings.resolution, facts) or 0)
    # How long a caption this base reads is known here; the reader of folders goes by CLIP's usual length.
    warnings = [_sentence(str(finding)) for finding in loaded.findings if finding.rule != "long_caption"]
    warnings += _too_long(loaded.data, facts.text_length - 2)
    summary: dict[str, Any] = {
        "splits": {split: _counted(rows) for split, rows in loaded.data.named().items()},
        "source": config.data.source if config.data.train is None else str(config.data.train),
        "notes": list(loaded.notes),
        "findings": [finding.to_json() for finding in loaded.findings],
        "fingerprints": dict(loaded.fingerprints),
        "base": {"name": facts.name, "architecture": "stable_diffusion", "checksum": facts.checksum},
        "mode": settings.mode,
        "trains": settings.mode != "prompt",
        "resolution": loaded.data.resolution,
    }
    return Prepared(data=loaded.data, summary=summary, warnings=tuple(warnings))


def targets_of(params: Mapping[str, Any]) -> list[str]:
    """The target modules of a trial: its own, or the UNet's attention."""
    targets = params.get("target_modules")
    return [targets] if isinstance(targets, str) else list(targets or ATTENTION)


def _resolution(given: int | None, facts: DiffusionFacts) -> int | None:
    """The side of a study's pictures, None where nobody says it."""
    return facts.resolution if given is None else given


def _base_problems(config: StudyConfig, facts: DiffusionFacts) -> Iterator[Problem]:
    """Settings that are sound by themselves and that this base cannot take."""
    given = {name: config.space.get(name, Constant(value=DEFAULTS[name])) for name in ("resolution", "inference_steps")}
    sound = {
        name: entry.value
        for name, entry in given.items()
        if isinstance(entry, Constant) and not list(setting_problems(config, [name]))
    }
    if "resolution" in sound:
        yield from _side_problems(config.base_model, _resolution(sound["resolution"], facts), facts.step)
    known = facts.scheduler.get("num_train_timesteps")
    if is_whole(known) and sound.get("inference_steps", 0) > known:
        rule = f"the base {config.base_model} knows {known} steps of noise"
        yield Problem("space.inference_steps", sound["inference_steps"], rule, f"Use {known} or less.")


def _side_problems(base: str, side: int | None, step: int) -> Iterator[Problem]:
    if side is None:
        rule = f"the base {base} does not say for which resolution it was trained"
        yield Problem("space.resolution", None, rule, "Give one, as in resolution: 512.")
    elif side % step or not SMALLEST <= side <= LARGEST:
        steps = min(max(round(side / step), -(-SMALLEST // step)), LARGEST // step)
        rule = f"the base {base} draws sides of {SMALLEST} to {LARGEST} pixels that are multiples of {step}"
        yield Problem("space.resolution", side, rule, f"{steps * step} is the nearest.")


def _counted(rows: Sequence[PictureRow]) -> dict[str, Any]:
    """How many rows a split has, how many pictures where some repeat, and how many of each class where there are
    classes."""
    labels = Counter(row.label for row in rows if row.label is not None)
    pictures = len({row.name for row in rows})
    return {
        "total_samples": len(rows),
        **({"pictures": pictures} if pictures < len(rows) else {}),
        **({"label_counts": dict(sorted(labels.items()))} if labels else {}),
    }


def _too_long(data: FashionData, words: int) -> list[str]:
    """A warning of captions of more words than a text encoder reads; a word is one token or more."""
    long = {
        split: list(dict.fromkeys(row.name for row in rows if len(row.caption.split()) > words))
        for split, rows in data.named().items()
    }
    warnings: list[str] = []
    sentence = f"have a caption of more than {words} words, of which the text encoder reads the beginning"
    note_finding("long_caption", sentence, long, {}, warnings)
    return warnings


def _sentence(words: str) -> str:
    return words[0].upper() + words[1:]
