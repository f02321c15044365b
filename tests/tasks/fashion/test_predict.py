"""A saved adapter that draws, and the sentences of what cannot be opened."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from tests.tasks.fashion import toy
from tuner import tasks
from tuner.errors import BaseModelError, StoreError
from tuner.tasks.fashion.predict import FashionPredictor
from tuner.tasks.fashion.saving import LORA
from tuner.tasks.task import Predictor

PROMPT = "a red dress"


@pytest.fixture(scope="module")
def saved(base: Path, clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """LoRA of the UNet and the text encoder, far from the base."""
    packing = toy.make_packing(base, clip)
    packing.start(toy.make_spec("a", rank=3, alpha=8, target_modules=["to_q", "conv1", "q_proj"]))
    toy.far(packing)
    return toy.save(packing, tmp_path_factory.mktemp("saved") / "adapter")


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    """A copy that may be spoilt."""
    return Path(shutil.copytree(saved, tmp_path / "adapter"))


def change(folder: Path, **changes: Any) -> None:
    """Write other details; ... takes one out."""
    path = folder / "tuner.json"
    details = {**json.loads(path.read_text(encoding="utf-8")), **changes}
    path.write_text(json.dumps({name: value for name, value in details.items() if value is not ...}))


def says(folder: Path, kind: type[Exception] = StoreError) -> str:
    """The sentence with which a folder is refused."""
    with pytest.raises(kind) as caught:
        FashionPredictor(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_answers_are_what_is_seen_in_the_picture(saved: Path) -> None:
    predictor: Predictor = tasks.spec("fashion").predictor(saved)
    assert isinstance(predictor, FashionPredictor)
    found = predictor.predict([PROMPT, "a hat", PROMPT])
    assert [set(each) for each in found] == [{"answer", "seconds"}] * 3
    pictures = [predictor.draw(prompt) for prompt in (PROMPT, "a hat")]
    assert [each["answer"] for each in found[:2]] == predictor.judge.names(pictures)
    assert found[2]["answer"] == found[0]["answer"]
    assert all(each["seconds"] >= 0 for each in found)
    assert pictures[0].shape == (toy.SIDE, toy.SIDE, 3)
    assert pictures[0].dtype == np.uint8
    assert predictor.predict([]) == []


def test_details_decide_how_it_draws(folder: Path) -> None:
    before = FashionPredictor(folder).draw(PROMPT, seed=1)
    assert np.array_equal(FashionPredictor(folder).draw(PROMPT, seed=1), before)
    for changes in ({"guidance": 9.0}, {"inference_steps": 5}, {"negative_prompt": "blurry, low quality"}):
        change(folder, **{"guidance": 2.0, "inference_steps": 3, "negative_prompt": "", **changes})
        assert not np.array_equal(FashionPredictor(folder).draw(PROMPT, seed=1), before), changes
    change(folder, resolution=48)
    assert FashionPredictor(folder).draw(PROMPT).shape == (48, 48, 3)


def test_found_prompts_draw_what_their_plan_says(base: Path, clip: Path, tmp_path: Path) -> None:
    packing = toy.make_packing(base, clip, space={"mode": "prompt"})
    packing.start(toy.make_spec("a", confidence_threshold=0.02, max_features=6, quality_words=True, guidance=3.0))
    folder = toy.save(packing, tmp_path / "adapter")
    predictor = FashionPredictor(folder)
    assert predictor.plan is not None
    told = json.loads((folder / "tuner.json").read_text(encoding="utf-8"))["prompts"]["common"]
    asked = packing.task.prompting.asked(predictor.plan, PROMPT, predictor.common)
    assert asked.startswith(f"{PROMPT}, ")
    assert asked.endswith("high quality, sharp")
    assert [each.word for each in predictor.common] == [each["word"] for each in told]
    ours = packing.task.drawing.draw(toy.pack_of(packing), [[asked]], "", [3.0], [5])[0][0]
    assert np.abs(predictor.draw(PROMPT, seed=5).astype(int) - ours.astype(int)).max() <= 1


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '"fashion"', "{}", '{"task": "fashion"}'])
def test_damaged_details_are_no_adapter(folder: Path, content: str) -> None:
    (folder / "tuner.json").write_text(content)
    found = says(folder)
    assert found.startswith(f"{folder} is not a saved adapter: ")
    assert found.endswith("Name a study's best folder.")


@pytest.mark.parametrize(
    "changes",
    [
        {"base_model": ...},
        {"checksum": ...},
        {"resolution": None},
        {"inference_steps": "many"},
        {"guidance": []},
        {"prompts": {"plan": {"taste": 1}, "common": []}},
        {"prompts": {"plan": {}, "common": [{"group": "taste", "word": "red", "confidence": 1}]}},
        {"prompts": {"plan": {}}},
        {"prompts": "none"},
    ],
)
def test_details_that_lack_something_are_no_adapter(folder: Path, changes: dict[str, Any]) -> None:
    change(folder, **changes)
    assert says(folder).startswith(f"{folder} is not a saved adapter: ")


def test_no_folder_is_no_adapter(tmp_path: Path) -> None:
    assert "is not a saved adapter" in says(tmp_path / "nothing")
    assert "is not a saved adapter" in says(tmp_path)


def test_an_adapter_of_another_task_is_named(folder: Path) -> None:
    change(folder, task="sentiment")
    assert "it is one of the task sentiment" in says(folder)


def test_an_adapter_of_another_base_is_refused_by_its_checksum(base: Path, folder: Path) -> None:
    change(folder, checksum="f" * 64)
    found = says(folder)
    assert found.startswith(f"{folder} was trained on another {base}: its checksum was {'f' * 64}, and this one has")
    assert found.endswith("Tune again, or bring that base back.")


def test_a_base_that_is_gone_is_said(folder: Path, tmp_path: Path) -> None:
    change(folder, base_model=str(tmp_path / "gone"))
    assert "gone" in says(folder, BaseModelError)


def test_a_full_fine_tune_does_not_need_its_base(base: Path, clip: Path, tmp_path: Path) -> None:
    packing = toy.make_packing(base, clip, space={"train": "full"})
    packing.start(toy.make_spec("a", train="full"))
    folder = toy.save(packing, tmp_path / "adapter")
    change(folder, base_model=str(tmp_path / "gone"), checksum="0")
    assert FashionPredictor(folder).draw(PROMPT).shape == (32, 32, 3)
    weights = next((folder / "fashion_sd_model" / "unet").glob("*.safetensors"))
    kept = weights.read_bytes()
    weights.write_bytes(kept[:-4] + bytes(4))
    assert "is not what was saved there" in says(folder)
    shutil.rmtree(folder / "fashion_sd_model")
    assert "there is no fashion_sd_model in it" in says(folder)


def test_lora_of_another_size_does_not_fit(folder: Path) -> None:
    tensors = load_file(folder / LORA)
    name = next(each for each in tensors if ".to_q.lora_A." in each)
    tensors[name] = tensors[name][:, :-1].contiguous()
    save_file(tensors, folder / LORA, metadata=_metadata(folder))
    assert says(folder).startswith(f"{folder} does not fit its base: ")


def test_lora_of_other_modules_does_not_fit(folder: Path) -> None:
    tensors = {name.replace("to_q", "to_z"): value for name, value in load_file(folder / LORA).items()}
    told = {name: value.replace("to_q", "to_z") for name, value in _metadata(folder).items()}
    save_file(tensors, folder / LORA, metadata=told)
    found = says(folder)
    assert found.startswith(f"{folder} does not fit its base: it has no unet.down_blocks.0.")
    assert found.endswith(".to_z")


@pytest.mark.parametrize("content", [b"", b"rubbish", b"\x10\0\0\0\0\0\0\0{not json at all", None])
def test_weights_that_cannot_be_read_are_said(folder: Path, content: bytes | None) -> None:
    if content is None:
        (folder / LORA).unlink()
    else:
        (folder / LORA).write_bytes(content)
    assert says(folder).startswith(f"{folder} does not fit its base: ")


def _metadata(folder: Path) -> dict[str, str]:
    from safetensors import safe_open

    with safe_open(folder / LORA, framework="pt") as file:
        return dict(file.metadata())
