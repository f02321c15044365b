"""A saved adapter is a plain PEFT folder: whoever opens it gets the engine's own answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from tests.engine import toy
from tuner import tasks
from tuner.engine.packing import Packing
from tuner.errors import BaseModelError, StoreError
from tuner.lora.packed import Member, Pack
from tuner.tasks.sentiment.predict import SentimentPredictor

# PEFT asks transformers for a name that it will drop; transformers draws a bar
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")


def trained(base: Path, **params: Any) -> Packing:
    """A packing with two trials, as far from their start as a long training would bring them."""
    packing = toy.make_packing(base)
    packing.start(toy.make_spec("other", seed=9, rank=7))
    packing.start(toy.make_spec("a", seed=2, alpha=10, **params))
    generator = torch.Generator().manual_seed(3)
    for trial in packing.trials.values():
        tensors = packing.store.tensors(trial.slot)
        far = {name: torch.randn(value.shape, generator=generator) * 0.4 for name, value in tensors.items()}
        packing.store.layout.fill(packing.store.weights[trial.slot], far)
        packing.store.restore(trial.slot, "average", far)
    return packing


def save(packing: Packing, folder: Path) -> Path:
    tensors, params = packing.adapter("a", "last")
    packing.task.save(folder, tensors, params)
    return folder


def engine_logits(packing: Packing, split: str) -> torch.Tensor:
    """What the engine answers to all rows of a split, in order."""
    task: Any = packing.task
    trial = packing.trials["a"]
    pack = Pack(packing.store, [Member(trial.slot, trial.plan.scale)], torch.float32, train=False)
    with torch.no_grad():
        found: torch.Tensor = task._logits(pack, [task.rows[split]])
    return found


@pytest.mark.parametrize("targets", ["default", "everywhere", "odd"])
@pytest.mark.parametrize("kind", toy.KINDS)
def test_plain_peft_gives_the_same_logits(toy_bases: dict[str, Path], tmp_path: Path, kind: str, targets: str) -> None:
    # "odd": a word that PEFT would find in other places too, such as a pooler
    odd = {"bert": ["dense"], "roberta": ["dense"], "distilbert": ["v_lin"], "albert": ["dense", "value"]}
    chosen = {"default": None, "everywhere": toy.EVERYWHERE[kind], "odd": odd[kind]}[targets]
    packing = trained(toy_bases[kind], target_modules=chosen)
    folder = save(packing, tmp_path / "adapter")

    config = json.loads((folder / "adapter_config.json").read_text())
    base = AutoModelForSequenceClassification.from_pretrained(config["base_model_name_or_path"], num_labels=2)
    model = PeftModel.from_pretrained(base, folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    texts = [row.text for row in toy.make_splits().test]
    batch = tokenizer(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        logits = model(**batch).logits
    expected = engine_logits(packing, "test")
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-5)
    assert (expected - expected.mean(0)).abs().max() > 0.01  # the rows differ
    with torch.no_grad(), model.disable_adapter():
        assert (model(**batch).logits - expected).abs().max() > 0.01  # and it is the adapter that says so


@pytest.mark.parametrize("kind", toy.KINDS)
def test_the_predictor_answers_as_the_engine(
    toy_bases: dict[str, Path], tmp_path: Path, kind: str, capfd: pytest.CaptureFixture[str]
) -> None:
    packing = trained(toy_bases[kind])
    predictor = tasks.spec("sentiment").predictor(save(packing, tmp_path / "adapter"))
    texts = [row.text for row in toy.make_splits().test] * 4  # more than one batch
    answers = predictor.predict(texts)
    assert capfd.readouterr() == ("", "")
    expected = engine_logits(packing, "test").softmax(-1).repeat(4, 1)
    for answer, row in zip(answers, expected.tolist(), strict=True):
        assert answer["label"] == row.index(max(row))
        assert answer["name"] == ("negative", "positive")[answer["label"]]
        assert answer["probability"] == pytest.approx(max(row), abs=1e-5)
    assert predictor.predict([]) == []


def test_files_and_modes(toy_bases: dict[str, Path], tmp_path: Path) -> None:
    folder = save(trained(toy_bases["bert"]), tmp_path / "adapter")
    names = {path.name for path in folder.iterdir()}
    assert {
        "adapter_config.json",
        "adapter_model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
        "tuner.json",
    } <= names
    assert {path.name: oct(path.stat().st_mode & 0o777) for path in folder.iterdir()} == dict.fromkeys(names, "0o644")
    assert not any(name.endswith((".bin", ".pt", ".pkl")) for name in names)


def _damage(folder: Path, how: str) -> None:
    if how == "no tuner.json":
        (folder / "tuner.json").unlink()
    elif how == "half of tuner.json":
        (folder / "tuner.json").write_text('{"task": "sentiment"}')
    elif how == "config is a list":
        (folder / "adapter_config.json").write_text("[]")
    elif how == "no weights":
        (folder / "adapter_model.safetensors").unlink()
    elif how == "cut weights":
        weights = (folder / "adapter_model.safetensors").read_bytes()
        (folder / "adapter_model.safetensors").write_bytes(weights[: len(weights) // 2])
    elif how == "another rank":
        config = json.loads((folder / "adapter_config.json").read_text())
        (folder / "adapter_config.json").write_text(json.dumps({**config, "r": 7}))


@pytest.mark.parametrize(
    "how", ["no tuner.json", "half of tuner.json", "config is a list", "no weights", "cut weights", "another rank"]
)
def test_a_damaged_adapter_is_an_error_for_a_person(toy_bases: dict[str, Path], tmp_path: Path, how: str) -> None:
    folder = save(trained(toy_bases["bert"]), tmp_path / "adapter")
    _damage(folder, how)
    with pytest.raises(StoreError, match=str(folder)):
        SentimentPredictor(folder)


def test_a_base_that_is_gone(toy_bases: dict[str, Path], tmp_path: Path) -> None:
    folder = save(trained(toy_bases["bert"]), tmp_path / "adapter")
    details = json.loads((folder / "tuner.json").read_text())
    (folder / "tuner.json").write_text(json.dumps({**details, "base_model": "/no/longer/there"}))
    with pytest.raises(BaseModelError, match="/no/longer/there"):
        SentimentPredictor(folder)
