"""Four ways to draw as folders: each draws what anybody draws who opens it, and is measured alone."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.engine.toy import task_device
from tests.tasks.fashion import toy
from tuner.errors import StoreError
from tuner.tasks.fashion import ways
from tuner.tasks.fashion.predict import FashionPredictor
from tuner.tasks.fashion.sampling import seed_of
from tuner.tasks.fashion.saving import LORA
from tuner.tasks.fashion.ways import draw, make_ways, read_details, trained_mb

PROMPTS = ["a red dress", "a blue hat", "a green coat"]
SEEDS = [seed_of(prompt) for prompt in PROMPTS]


def prompt_folder(base: Path, clip: Path, folder: Path) -> Path:
    packing = toy.make_packing(base, clip, space={"mode": "prompt"})
    packing.start(toy.make_spec("a", negative="quality", guidance=3.0))
    return toy.save(packing, folder)


def trained(base: Path, clip: Path, folder: Path, train: str = "lora") -> Path:
    packing = toy.make_packing(base, clip, space={"train": train})
    packing.start(toy.make_spec("a", target_modules=toy.EVERYWHERE, alpha=8, train=train))
    toy.far(packing, 0.3 if train == "lora" else 0.05)
    return toy.save(packing, folder)


@pytest.fixture(scope="module")
def made(base: Path, clip: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("ways")
    return make_ways(folder, prompt_folder(base, clip, folder / "p"), trained(base, clip, folder / "l"))


def pictures(way: Path, dtype: torch.dtype = torch.float32) -> list[np.ndarray]:
    return draw(way, PROMPTS, SEEDS, task_device(), dtype).pictures


def apart(ours: list[np.ndarray], theirs: list[np.ndarray]) -> int:
    """The most that any two levels differ by."""
    return max(np.abs(a.astype(int) - b.astype(int)).max() for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("name", ["base", "lora", "both", "prompt"])
def test_a_way_draws_what_its_folder_draws_for_anybody(made: dict[str, Path], name: str) -> None:
    predictor = FashionPredictor(made[name])
    said = (predictor.plan is not None, bool(predictor.pipe.unet.peft_config if name in ("lora", "both") else False))
    assert said == (name in ("prompt", "both"), name in ("lora", "both"))
    predictor.plan = None  # the words are given
    assert apart(pictures(made[name]), [predictor.draw(prompt) for prompt in PROMPTS]) <= 1


def test_settings_are_those_of_the_study_they_come_from(made: dict[str, Path]) -> None:
    details = {name: read_details(path) for name, path in made.items()}
    assert {name: each["guidance"] for name, each in details.items()} == {
        "base": 2.0,
        "prompt": 3.0,
        "lora": 2.0,
        "both": 2.0,
    }
    assert details["both"]["negative_prompt"] == details["prompt"]["negative_prompt"] == "blurry, low quality"
    assert details["base"]["negative_prompt"] == details["lora"]["negative_prompt"] == ""


def test_a_lora_is_seen_and_a_base_is_not_touched_by_it(made: dict[str, Path]) -> None:
    before, tuned, after = (pictures(made[name]) for name in ("base", "lora", "base"))
    assert apart(before, after) == 0
    assert np.mean([np.abs(a.astype(int) - b).mean() for a, b in zip(before, tuned, strict=True)]) > 1


def test_a_lora_draws_in_the_bases_dtype(made: dict[str, Path]) -> None:
    for exact, rounded in zip(pictures(made["lora"]), pictures(made["lora"], torch.bfloat16), strict=True):
        assert np.abs(exact.astype(int) - rounded).mean() < 20


def test_weights_are_counted_on_disk(made: dict[str, Path]) -> None:
    size = (made["lora"] / LORA).stat().st_size / 1e6
    assert {name: trained_mb(path) for name, path in made.items()} == {
        "base": 0,
        "prompt": 0,
        "lora": size,
        "both": size,
    }


def test_seconds_and_memory_are_of_the_drawing(made: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    def memory(_: object) -> float:
        return 900.0 if working else 100.0

    def slow(self: object, pack: object, prompts: list[list[str]], *_: object) -> list[list[str]]:
        nonlocal working
        working = len(prompts[0]) > 1
        time.sleep(0.3)
        working = False
        return prompts

    working = False
    monkeypatch.setattr(ways, "memory_used_mb", memory)
    monkeypatch.setattr(ways.Drawing, "draw", slow)
    found = draw(made["base"], PROMPTS, SEEDS, task_device(), torch.float32)
    assert found.memory_mb == 900
    assert 0.1 <= found.seconds < 0.2


def test_a_full_fine_tune_is_a_way_too(base: Path, clip: Path, tmp_path: Path) -> None:
    prompt = prompt_folder(base, clip, tmp_path / "p")
    full = trained(base, clip, tmp_path / "l", "full")
    made = make_ways(tmp_path, prompt, full)
    assert apart(pictures(made["lora"]), pictures(made["both"])) > 0, "another negative prompt"
    assert trained_mb(made["both"]) == trained_mb(made["lora"]) > 0
    again = make_ways(tmp_path, prompt, full)
    assert again == made
    assert sorted(path.name for path in tmp_path.iterdir()) == ["base", "both", "l", "p"]


def test_a_damaged_folder_is_named(made: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"tuner\.json cannot be read"):
        make_ways(tmp_path, tmp_path, made["lora"])
    (tmp_path / "tuner.json").write_text("[]", encoding="utf-8")
    with pytest.raises(StoreError, match="holds no object"):
        read_details(tmp_path)


@pytest.mark.parametrize("name", ["base", "both"])
def test_a_folder_of_somebody_else_is_not_replaced(made: dict[str, Path], tmp_path: Path, name: str) -> None:
    mine = tmp_path / name / "mine.png"
    mine.parent.mkdir()
    mine.write_bytes(b"mine")
    with pytest.raises(StoreError, match="in the way"):
        make_ways(tmp_path, made["prompt"], made["lora"])
    assert mine.read_bytes() == b"mine"
