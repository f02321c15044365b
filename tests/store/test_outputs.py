"""Tests of tuner/store/outputs.py: what a winner answers, to disk and back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tuner.errors import StoreError
from tuner.store.outputs import Output, Outputs, read_outputs, write_outputs

PICTURE = b"\x89PNG picture"
TWO = Outputs(
    "t003",
    "test",
    (
        Output("image_1.jpg", "a red dress", "", "", "", {"ssim": 0.5}, {"expected": PICTURE, "adapter": PICTURE * 2}),
        Output(
            "text_1", "Die Sohle <b>löste</b> sich.", "negative", "positive", "neither", {"accuracy": 0.0},
            base_metrics={"accuracy": 0.5}, key_facts=("70-90%|70 %", "60%"),
        ),
    ),
)  # fmt: skip

HUGE = f'{{"trial_id": "t", "split": "test", "items": [{{"name": "a", "metrics": {{"x": 1{"0" * 400}}}}}]}}'


def test_there_and_back(tmp_path: Path) -> None:
    write_outputs(tmp_path, TWO)
    assert read_outputs(tmp_path, ["image_1.jpg"]) == TWO
    without = read_outputs(tmp_path)
    assert without is not None
    assert without.items[0].pictures == {}, "pictures are read only where they are asked for"
    names = sorted(path.name for path in (tmp_path / "outputs").iterdir())
    assert names == ["0001-adapter.png", "0001-expected.png", "outputs.json"]


def test_new_ones_replace_old_ones(tmp_path: Path) -> None:
    write_outputs(tmp_path, TWO)
    one = Outputs("t004", "validation", TWO.items[1:])
    write_outputs(tmp_path, one)
    assert read_outputs(tmp_path) == one
    assert [path.name for path in (tmp_path / "outputs").iterdir()] == ["outputs.json"]


def test_a_study_without_outputs_has_none(tmp_path: Path) -> None:
    assert read_outputs(tmp_path) is None


def test_what_is_not_finite_is_missing(tmp_path: Path) -> None:
    metrics = {"x": float("nan"), "y": 1.0, "z": float("-inf")}
    write_outputs(tmp_path, Outputs("t", "test", (Output("a", "", "", "", metrics=metrics, base_metrics=metrics),)))
    found = read_outputs(tmp_path)
    assert found is not None
    assert found.items[0].metrics == found.items[0].base_metrics == {"y": 1.0}


def test_an_older_file_says_nothing_of_the_base_nor_of_facts(tmp_path: Path) -> None:
    write_outputs(tmp_path, TWO)
    path = tmp_path / "outputs" / "outputs.json"
    content = json.loads(path.read_text())
    for row in content["items"]:
        del row["base_metrics"], row["key_facts"]
    path.write_text(json.dumps(content))
    found = read_outputs(tmp_path)
    assert found is not None
    assert [(item.base_metrics, item.key_facts) for item in found.items] == [({}, ()), ({}, ())]
    assert [item.metrics for item in found.items] == [item.metrics for item in TWO.items]


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "[" * 100_000, HUGE, '{"items": [{"name": "a"}]}', '{"trial_id": "t", "split": "test"}']
)
def test_a_damaged_file_is_a_sentence(tmp_path: Path, text: str) -> None:
    write_outputs(tmp_path, TWO)
    (tmp_path / "outputs" / "outputs.json").write_text(text)
    with pytest.raises(StoreError, match=r"outputs\.json cannot be read"):
        read_outputs(tmp_path)


@pytest.mark.parametrize("name", ["../../secret.png", "/etc/passwd", "gone.png", "outputs.json"])
def test_no_name_leads_out_of_the_folder(tmp_path: Path, name: str) -> None:
    write_outputs(tmp_path / "study", TWO)
    (tmp_path / "secret.png").write_bytes(b"secret")
    path = tmp_path / "study" / "outputs" / "outputs.json"
    content = json.loads(path.read_text())
    content["items"][0]["pictures"] = {"expected": name}
    path.write_text(json.dumps(content))
    found = read_outputs(tmp_path / "study", ["image_1.jpg"])
    assert found is not None
    assert found.items[0].pictures == {}
