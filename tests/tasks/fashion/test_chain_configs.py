"""What the two studies of a pipeline take from its config."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tuner.config import Choice, Constant, StudyConfig
from tuner.errors import ConfigError
from tuner.tasks.fashion.chain_configs import OF_PROMPTS, SAME, lora_config, prompt_config
from tuner.tasks.fashion.prompts import PromptPlan
from tuner.tasks.fashion.settings import DEFAULTS

COMMON = {"rank": 4, "learning_rate": 1e-3, "epochs": 1}


def pipeline(**changes: Any) -> StudyConfig:
    space = {"mode": "pipeline", **COMMON, "resolution": 64, "guidance": 4.0, **changes.pop("space", {})}
    content = {
        "task": "fashion",
        "name": "p",
        "base_model": "somebody/sd",
        "data": {"source": "pictures", "test_samples": 9, "columns": {"caption": "words"}},
        "space": space,
        "search": {"trials": 5, "seed": 7, "time_budget_minutes": 3.0},
        "devices": ["cpu"],
        "precision": "fp32",
        "results": "elsewhere",
        **changes,
    }
    return StudyConfig.model_validate(content)


def prompts(trials: int = 12) -> StudyConfig:
    return StudyConfig.model_validate(
        {
            "task": "fashion",
            "base_model": "garment_sd",
            "space": {
                "mode": "prompt",
                **COMMON,
                "resolution": 128,
                "inference_steps": 9,
                "guidance": {"type": "choice", "values": [3.0, 7.0]},
                "strategy": {"type": "choice", "values": ["detailed", "minimal"]},
            },
            "start_points": [{"strategy": "minimal", "guidance": 7.0}, {"strategy": "detailed", "guidance": 3.0}],
            "search": {"trials": trials, "seed": 1, "top_k": 1},
        }
    )


def test_the_names_are_hyperparameters_of_the_task() -> None:
    assert set(OF_PROMPTS) | set(SAME) <= set(DEFAULTS)
    values = {name: DEFAULTS[name] for name in OF_PROMPTS}
    assert PromptPlan.from_params(values) == PromptPlan()


def test_the_study_of_prompts_is_on_the_pipelines_ground() -> None:
    config = pipeline()
    found = prompt_config(config, prompts(), usual=9)
    assert found.name == "p-prompt"
    for name in ("base_model", "data", "devices", "precision", "results"):
        assert getattr(found, name) == getattr(config, name)
    assert found.space["mode"] == Constant(value="prompt")
    assert found.space["resolution"] == Constant(value=64)
    assert found.space["guidance"] == Constant(value=4.0)
    assert "inference_steps" not in found.space, "both studies have its default"
    assert found.start_points == [{"strategy": "minimal"}, {"strategy": "detailed"}]
    search = found.search
    assert (search.trials, search.seed, search.time_budget_minutes, search.top_k) == (5, 7, 3.0, 1)


@pytest.mark.parametrize(("asked", "found"), [(9, 24), (5, 5), (30, 30)])
def test_the_study_of_prompts_has_its_own_trials_until_others_are_asked_for(asked: int, found: int) -> None:
    config = pipeline(search={"trials": asked})
    assert prompt_config(config, prompts(trials=24), usual=9).search.trials == found


def test_what_the_pipeline_says_of_prompts_goes_to_the_study_of_prompts_alone() -> None:
    config = pipeline(
        space={"strategy": "minimal", "max_features": {"type": "int", "low": 2, "high": 4}},
        start_points=[{"max_features": 3}, {"rank": 4, "max_features": 2}],
    )
    first, second = prompt_config(config, prompts(), usual=5), lora_config(config, Path("s"))
    assert first.space["strategy"] == Constant(value="minimal")
    assert "max_features" in first.space
    assert not set(OF_PROMPTS) & set(second.space)
    assert second.start_points == []


def test_the_study_of_lora_is_the_pipelines_own_on_the_samples() -> None:
    config = pipeline(
        space={"rank": {"type": "choice", "values": [2, 4]}}, start_points=[{"rank": 4}], score={"quality_weight": 0.4}
    )
    found = lora_config(config, Path("elsewhere/p/samples"))
    assert found.name == "p-finetune"
    assert "mode" not in found.space
    assert isinstance(found.space["rank"], Choice)
    assert found.start_points == [{"rank": 4}]
    assert found.data.source == "elsewhere/p/samples"
    assert (found.data.test_samples, found.data.columns) == (None, {})
    assert (found.search, found.score, found.base_model) == (config.search, config.score, config.base_model)


def test_a_name_with_no_room_for_its_studies_is_refused() -> None:
    with pytest.raises(ConfigError, match="at most 100 characters"):
        lora_config(pipeline(name="x" * 95), Path("s"))
