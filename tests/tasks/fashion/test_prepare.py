"""Everything about base, space and pictures that is wrong is said before a model loads."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.bases.toy_pipeline import write_pipeline
from tests.data.pictures import describe, drawn, fill, save
from tuner.bases import clip
from tuner.bases.diffusion import ATTENTION, describe_diffusion, known_targets
from tuner.config import StudyConfig
from tuner.errors import BaseModelError, ConfigError, DataError, Problem
from tuner.tasks.fashion.prepare import prepare, targets_of
from tuner.tasks.fashion.rows import REPEATS
from tuner.tasks.task import Prepared

SMALL = {"train_samples": 4, "validation_samples": 2, "test_samples": 2}
SPACE: dict[str, Any] = {"rank": 4, "learning_rate": 1e-3, "epochs": 1}


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """Reads 16 tokens, draws 32 x 32 or other multiples of 8."""
    return write_pipeline(tmp_path / "base")


@pytest.fixture(autouse=True)
def checked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The CLIP models that were looked at; each is right but "broken"."""
    names: list[str] = []

    def check(name: str) -> None:
        names.append(name)
        if name == "broken":
            raise BaseModelError("clip_model = 'broken': it is broken.")

    monkeypatch.setattr(clip, "check_clip", check)
    return names


def make(base: Path, data: dict[str, Any] | None = None, **changes: Any) -> StudyConfig:
    """A study; `changes` go into its space, but for its other parts."""
    parts = {name: changes.pop(name) for name in ("memory", "start_points") if name in changes}
    content = {"task": "fashion", "base_model": str(base), "data": data or SMALL, "space": {**SPACE, **changes}}
    return StudyConfig.model_validate({**content, **parts})


def done(base: Path, data: dict[str, Any] | None = None, **changes: Any) -> Prepared:
    return prepare(make(base, data, **changes))


def problems(base: Path, **changes: Any) -> list[Problem]:
    with pytest.raises(ConfigError) as caught:
        prepare(make(base, **changes))
    return list(caught.value.problems)


def test_what_is_right(base: Path, checked: list[str]) -> None:
    prepared = done(base)
    assert [len(rows) for rows in prepared.data.named().values()] == [4 * REPEATS, 2, 2]
    assert prepared.data.resolution == 32
    assert checked == ["garment_clip"]
    summary = prepared.summary
    assert summary["base"]["name"] == str(base)
    assert summary["base"]["checksum"].startswith("sample ")
    assert summary["splits"]["validation"] == {"total_samples": 2, "label_counts": {"shirt": 1, "t-shirt": 1}}
    assert (summary["source"], summary["mode"], summary["trains"], summary["resolution"]) == (
        "embedded",
        "finetune",
        True,
        32,
    )
    assert set(summary["fingerprints"]) == {"train", "validation", "test"}
    assert json.loads(json.dumps(summary)) == summary, "plain JSON"
    assert summary["findings"] == summary["notes"] == []


@pytest.mark.parametrize(("mode", "trains"), [("finetune", True), ("pipeline", True), ("prompt", False)])
def test_whether_anything_is_trained(base: Path, mode: str, trains: bool) -> None:
    summary = done(base, mode=mode).summary
    assert (summary["mode"], summary["trains"]) == (mode, trains)


def test_a_resolution_of_ones_own(base: Path) -> None:
    prepared = done(base, resolution=48)
    assert prepared.data.resolution == prepared.summary["resolution"] == 48
    assert prepared.data.test[0].pixels().shape == (48, 48, 3)


@pytest.mark.parametrize(("side", "nearest"), [(36, 32), (45, 48), (2047, 2048)])
def test_a_resolution_that_the_blocks_cannot_halve(base: Path, side: int, nearest: int) -> None:
    [problem] = problems(base, resolution=side)
    assert (problem.name, problem.value) == ("space.resolution", side)
    assert "multiples of 8" in problem.rule
    assert problem.cure == f"{nearest} is the nearest."


def test_the_nearest_resolution_can_be_drawn(tmp_path: Path) -> None:
    wide = {"block_out_channels": [4] * 6}  # 4 pixels a latent, 5 halvings
    base = write_pipeline(tmp_path, {"unet/config.json": {**wide, "sample_size": 8}})
    assert [(problem.value, problem.cure) for problem in problems(base)] == [(32, "128 is the nearest.")]


def test_a_base_that_does_not_say_its_resolution(tmp_path: Path) -> None:
    base = write_pipeline(tmp_path, {"unet/config.json": {"sample_size": None}})
    [problem] = problems(base)
    assert (problem.name, problem.value) == ("space.resolution", None)
    assert done(base, resolution=40).data.resolution == 40


def test_more_steps_than_the_base_knows(tmp_path: Path) -> None:
    base = write_pipeline(tmp_path, {"scheduler/scheduler_config.json": {"num_train_timesteps": 20}})
    [problem] = problems(base)
    assert (problem.name, problem.value, problem.cure) == ("space.inference_steps", 25, "Use 20 or less.")
    done(base, inference_steps=20)


@pytest.mark.parametrize("rank", [17, {"type": "int", "low": 1, "high": 17}])
def test_a_rank_above_the_widest_block(base: Path, rank: Any) -> None:
    [problem] = problems(base, rank=rank)
    assert (problem.value, "width, 16" in problem.rule) == (17, True)
    done(base, rank=16)


def test_unknown_target_modules_name_those_there_are(base: Path) -> None:
    values = [["to_q"], ["query", "to_v"]]
    points = [{**SPACE, "target_modules": ["query", "to_v"]}]
    [problem] = problems(base, target_modules={"type": "choice", "values": values}, start_points=points)
    assert (problem.name, problem.value) == ("space.target_modules", "query")
    there = list(known_targets(describe_diffusion(str(base))))
    assert problem.cure == f"It has: {', '.join(there)}."
    done(base, target_modules=there)


def test_all_mistakes_of_the_space_at_once(base: Path, checked: list[str]) -> None:
    found = problems(
        base,
        rank=99,
        target_modules=["nonsense"],
        mode="train",
        inference_steps={"type": "int", "low": 5, "high": 5000},
        resolution=33,
        strategy="loud",
        confidence_threshold=1.5,
        memory={"base_4bit": True, "checkpointing": True},
    )
    assert [problem.name for problem in found] == [
        "space.mode",
        "space.inference_steps",
        "space.strategy",
        "space.confidence_threshold",
        "space.resolution",
        "space.rank",
        "space.target_modules",
        "memory.base_4bit",
        "memory.checkpointing",
    ]
    assert checked == [], "no further model is looked at"


def test_a_mistake_is_not_told_twice(base: Path) -> None:
    assert [problem.name for problem in problems(base, resolution=5000, inference_steps=5000)] == [
        "space.resolution",
        "space.inference_steps",
    ]


def test_the_base_is_looked_at_first(tmp_path: Path) -> None:
    with pytest.raises(BaseModelError, match="neither the embedded pipeline"):
        done(tmp_path / "nothing", mode="nonsense")


def test_the_judge_is_looked_at_before_the_pictures(base: Path, checked: list[str]) -> None:
    with pytest.raises(BaseModelError, match="clip_model = 'broken'"):
        done(base, {"source": "/no/such/folder"}, clip_model="broken")
    with pytest.raises(DataError, match="no such folder"):
        done(base, {"source": "/no/such/folder"}, clip_model="other")
    assert checked == ["broken", "other"]


def test_what_is_odd_about_pictures_is_a_warning(base: Path, tmp_path: Path) -> None:
    folder = tmp_path / "data" / "10_shoe"
    fill(folder, 8)
    save(folder / "gray.png", drawn(50, mode="L"))
    prepared = done(base, {"source": str(tmp_path / "data"), "train_samples": 2})
    assert [warning for warning in prepared.warnings if "gray" in warning] == [
        "Gray pictures, taken as RGB: 1 (1 of train): 10_shoe/gray.png."
    ]
    assert prepared.summary["splits"]["train"] == {"total_samples": 20, "pictures": 2, "label_counts": {"shoe": 20}}
    assert [finding["rule"] for finding in prepared.summary["findings"]] == ["gray"]
    assert any("cut from train" in note for note in prepared.summary["notes"])


def test_captions_longer_than_the_base_reads(base: Path, tmp_path: Path) -> None:
    for split, count, first in (("train", 4, 0), ("test", 2, 4), ("validation", 2, 6)):
        folder = tmp_path / "data" / split
        names = fill(folder, count, first)
        long = {names[0]: "a " * 14 + "hat"} if split != "validation" else {}
        describe(folder, {**dict.fromkeys(names, "a " * 13 + "hat"), **long})
    [warning] = done(base, {"source": str(tmp_path / "data")}).warnings
    assert warning == (
        "2 rows (1 of train, 1 of test) have a caption of more than 14 words, of which the text encoder reads the "
        "beginning: train/000.png, test/004.png."
    )


def test_a_caption_longer_than_usual_is_told_once(base: Path, tmp_path: Path) -> None:
    names = fill(tmp_path / "data", 6)
    describe(tmp_path / "data", dict.fromkeys(names, "hat " * 80))
    prepared = done(base, {"source": str(tmp_path / "data")})
    assert len(prepared.warnings) == 1
    assert [finding["rule"] for finding in prepared.summary["findings"]] == ["long_caption"]


def test_the_source_of_folders_split_by_split(base: Path, tmp_path: Path) -> None:
    names = fill(tmp_path / "mine", 6)
    describe(tmp_path / "mine", dict.fromkeys(names, "a hat"))
    assert done(base, {"train": str(tmp_path / "mine")}).summary["source"] == str(tmp_path / "mine")


def test_the_targets_of_a_trial() -> None:
    assert targets_of({}) == targets_of({"target_modules": None}) == list(ATTENTION)
    assert targets_of({"target_modules": "to_q"}) == ["to_q"]
    assert targets_of({"target_modules": ["conv1", "to_q"]}) == ["conv1", "to_q"]


def test_no_torch_is_needed() -> None:
    code = "import sys, tuner.tasks.fashion.prepare; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
