"""What the task's own hyperparameters may be, and which of them a whole study shares."""

from __future__ import annotations

from typing import Any

import pytest

from tuner.config import StudyConfig
from tuner.errors import ConfigError, Problem
from tuner.tasks.fashion.settings import DEFAULTS, SHARED, Settings, setting_problems, settings_of

SPACE: dict[str, Any] = {"rank": 4, "learning_rate": 1e-3, "epochs": 1}


def config(**space: Any) -> StudyConfig:
    return StudyConfig.model_validate({"task": "fashion", "base_model": "x", "space": {**SPACE, **space}})


def problems(**space: Any) -> list[Problem]:
    return list(setting_problems(config(**space), DEFAULTS))


def test_what_a_space_does_not_name_has_its_default() -> None:
    found = settings_of(config())
    assert found == Settings("finetune", None, 25, "lora", "category", "garment_clip", "")
    assert problems(**DEFAULTS) == [], "the defaults keep the rules"


def test_what_a_space_names() -> None:
    named = {"mode": "pipeline", "resolution": 64, "inference_steps": 8, "train": "full", "similarity": "embedding"}
    found = settings_of(config(**named, clip_model="/a/b", negative_prompt="blurry"))
    assert found == Settings(**named, clip_model="/a/b", negative_prompt="blurry")


@pytest.mark.parametrize("name", SHARED)
def test_what_is_one_for_a_study_cannot_be_searched(name: str) -> None:
    values = [DEFAULTS[name], {"resolution": 64, "inference_steps": 8}.get(name, "x")]
    [problem] = problems(**{name: {"type": "choice", "values": values}})
    assert (problem.name, problem.value) == (f"space.{name}", values)
    assert problem.rule == "one value for the whole study"
    assert f"Write {name}: and its value" in problem.cure


def test_a_range_of_what_is_one_for_a_study() -> None:
    space = {"inference_steps": {"type": "int", "low": 10, "high": 50}, "mode": "finetune"}
    assert [str(problem) for problem in problems(**space)] == [
        "space.inference_steps = '10..50': one value for the whole study. "
        "Write inference_steps: and its value; another value takes another study."
    ]
    with pytest.raises(ConfigError, match="one value for the whole study"):
        settings_of(config(**space))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("mode", "train"),
        ("mode", None),
        ("mode", ["prompt"]),
        ("resolution", 31),
        ("resolution", 2049),
        ("resolution", 64.0),
        ("resolution", True),
        ("inference_steps", 0),
        ("inference_steps", 1001),
        ("inference_steps", True),
        ("inference_steps", "25"),
        ("guidance", 0.5),
        ("guidance", 50.5),
        ("guidance", None),
        ("snr_gamma", 0),
        ("snr_gamma", "5"),
        ("ema", 1),
        ("ema", "true"),
        ("train", "all"),
        ("similarity", "cosine"),
        ("clip_model", " "),
        ("clip_model", None),
        ("negative_prompt", None),
        ("offset_noise", 1.1),
        ("offset_noise", False),
    ],
)
def test_values_that_break_a_rule(name: str, value: Any) -> None:
    [problem] = problems(**{name: value})
    assert (problem.name, problem.value) == (f"space.{name}", value)
    assert problem.rule.startswith("must ")
    assert problem.cure
    if name in SHARED:
        with pytest.raises(ConfigError, match=rf"space\.{name}"):
            settings_of(config(**{name: value}))
    else:
        settings_of(config(**{name: value}))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("resolution", None),
        ("inference_steps", 1000),
        ("guidance", 1),
        ("guidance", {"type": "float", "low": 1.0, "high": 50.0}),
        ("snr_gamma", {"type": "choice", "values": [None, 1, 5.0]}),
        ("snr_gamma", {"type": "float", "low": 0.5, "high": 20.0, "log": True}),
        ("ema", {"type": "choice", "values": [True, False]}),
        ("offset_noise", {"type": "float", "low": 0.0, "high": 1.0}),
        ("negative_prompt", ""),
    ],
)
def test_values_that_keep_the_rules(name: str, value: Any) -> None:
    assert problems(**{name: value}) == []


def test_the_place_of_a_mistake_is_named() -> None:
    found = problems(
        guidance={"type": "float", "low": -1.0, "high": 60.0},
        snr_gamma={"type": "choice", "values": [5, -1]},
        ema={"type": "int", "low": 0, "high": 1},
    )
    assert [(problem.name, problem.value) for problem in found] == [
        ("space.guidance.low", -1.0),
        ("space.guidance.high", 60.0),
        ("space.snr_gamma.values[1]", -1),
        ("space.ema.low", 0),
        ("space.ema.high", 1),
    ]
