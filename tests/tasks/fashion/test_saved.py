"""What a saved adapter says of itself, and what the base would."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from tuner.bases.diffusion import describe_diffusion
from tuner.errors import StoreError
from tuner.tasks.fashion.features import Feature
from tuner.tasks.fashion.prompts import PromptPlan
from tuner.tasks.fashion.saved import SavedDetails

TOLD: dict[str, Any] = {
    "task": "fashion", "base_model": "garment_sd", "revision": None, "checksum": "0", "train": "lora",
    "resolution": 64, "inference_steps": 25, "guidance": 7, "negative_prompt": "blurry", "clip_model": "garment_clip",
}  # fmt: skip


def written(folder: Path, **changes: Any) -> Path:
    (folder / "tuner.json").write_text(json.dumps({**TOLD, **changes}), encoding="utf-8")
    return folder


def test_what_is_written_is_read(tmp_path: Path) -> None:
    found = SavedDetails.open(written(tmp_path))
    assert (found.side, found.steps, found.guidance, found.negative_prompt) == (64, 25, 7.0, "blurry")
    assert (found.base_model, found.revision, found.checksum, found.train) == ("garment_sd", None, "0", "lora")
    assert found.told == TOLD
    assert found.asked("a hat") == "a hat"


def test_found_prompts_are_said_with_what_is_asked(tmp_path: Path) -> None:
    plan, common = PromptPlan(quality_words=True), Feature("colour", "red", 0.9)
    told = {"plan": asdict(plan), "common": [asdict(common)]}
    found = SavedDetails.open(written(tmp_path, train="nothing", prompts=told))
    assert found.asked("a hat") == "a hat, in red, high quality, sharp"


def test_the_base_says_the_defaults_of_the_task() -> None:
    facts = describe_diffusion("garment_sd")
    found = SavedDetails.of_base(facts)
    assert (found.side, found.steps, found.guidance, found.negative_prompt) == (64, 25, 7.5, "")
    assert found.checksum == facts.checksum
    assert found.asked("a hat") == "a hat"


@pytest.mark.parametrize(
    "changes", [{"task": "sentiment"}, {"train": "full"}, {"guidance": "much"}, {"prompts": {"plan": {}}}]
)
def test_what_is_no_adapter_is_said(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(StoreError, match="is not a saved adapter"):
        SavedDetails.open(written(tmp_path, **changes))
    (tmp_path / "tuner.json").write_text("[" * 100_000)
    with pytest.raises(StoreError, match="is not a saved adapter"):
        SavedDetails.open(tmp_path)
