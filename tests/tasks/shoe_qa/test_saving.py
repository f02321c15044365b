"""A saved adapter is a plain PEFT folder beside its tokenizer, and says how it was trained to read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.tasks.shoe_qa import toy
from tuner.errors import BaseModelError, StoreError
from tuner.lora.ragged import Ragged
from tuner.tasks.shoe_qa.predict import QaPredictor

# PEFT asks transformers for a name that it will drop
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")


def opened(folder: Path) -> Any:
    """As anybody would open it, in fp32."""
    config = json.loads((folder / "adapter_config.json").read_text())
    base = AutoModelForCausalLM.from_pretrained(config["base_model_name_or_path"], dtype=torch.float32)
    return PeftModel.from_pretrained(base, folder).eval()


@pytest.mark.parametrize("targets", [None, ["q_proj", "o_proj"], toy.EVERYWHERE])
def test_plain_peft_gives_the_same_logits(base: Path, tmp_path: Path, targets: list[str] | None) -> None:
    packing = toy.trained(base, target_modules=targets)
    model = opened(toy.save(packing, tmp_path / "adapter"))
    task: Any = packing.task
    for text in task.rows["test"]:
        ids = torch.tensor(text.ids)
        with torch.no_grad():
            logits = model(input_ids=ids[None]).logits[0]
            pack = toy.pack_of(packing, "a")
            pack.bring([1], [len(ids)])
            task.context.pack = pack
            expected = task.decoder.logits(task.decoder.hidden(ids, Ragged([len(ids)], task.device)))
            task.context.pack = None
            with model.disable_adapter():
                assert (model(input_ids=ids[None]).logits[0] - expected).abs().max() > 0.1, "it is the adapter's doing"
        torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-4)


def test_plain_peft_gives_the_same_losses(base: Path, tmp_path: Path) -> None:
    packing = toy.trained(base)
    model = opened(toy.save(packing, tmp_path / "adapter"))
    task: Any = packing.task
    with torch.no_grad():
        found = task.losses(toy.pack_of(packing, "a"), [[3, 0, 7]])
        for row, loss in zip((3, 0, 7), found.tolist(), strict=True):
            text = task.rows["train"][row]
            ids = torch.tensor(text.ids)[None]
            labels = ids.masked_fill(torch.arange(ids.shape[1]) < text.start, -100)
            assert loss == pytest.approx(model(input_ids=ids, labels=labels).loss.item(), abs=1e-5)
            logits = model(input_ids=ids).logits[0, text.start - 1 : -1]
            assert loss == pytest.approx(F.cross_entropy(logits, ids[0, text.start :]).item(), abs=1e-5)


def test_what_lies_in_the_folder(base: Path, tmp_path: Path) -> None:
    packing = toy.trained(base, toy.make_splits("請簡短回答。"), target_modules=["gate_proj"], dropout=0.1)
    folder = toy.save(packing, tmp_path / "adapter")
    names = {path.name for path in folder.iterdir()}
    assert {"adapter_config.json", "adapter_model.safetensors", "tokenizer.json", "tokenizer_config.json"} <= names
    assert {path.name: oct(path.stat().st_mode & 0o777) for path in folder.iterdir()} == dict.fromkeys(names, "0o644")
    assert not any(name.endswith((".bin", ".pt", ".pkl")) for name in names)
    config = json.loads((folder / "adapter_config.json").read_text())
    assert (config["task_type"], config["r"], config["lora_alpha"], config["lora_dropout"]) == ("CAUSAL_LM", 4, 10, 0.1)
    assert config["target_modules"] == ["gate_proj"]
    assert json.loads((folder / "tuner.json").read_text(encoding="utf-8")) == {
        "task": "shoe_qa",
        "base_model": str(base),
        "max_length": 96,
        "new_tokens": packing.task.new_tokens,  # type: ignore[attr-defined]
        "system": "請簡短回答。",
    }


def test_the_tokenizer_beside_it_reads_as_the_engine(base: Path, tmp_path: Path) -> None:
    packing = toy.trained(base)
    tokenizer = AutoTokenizer.from_pretrained(toy.save(packing, tmp_path / "adapter"))
    turns = [{"role": "system", "content": "簡短"}, {"role": "user", "content": "How damp may the sole be?"}]
    found = tokenizer.apply_chat_template(turns, add_generation_prompt=True)
    assert list(found["input_ids"]) == packing.task.chat.prompt(turns)  # type: ignore[attr-defined]


def _damage(folder: Path, how: str) -> None:
    details = json.loads((folder / "tuner.json").read_text(encoding="utf-8"))
    if how == "no tuner.json":
        (folder / "tuner.json").unlink()
    elif how == "no length":
        del details["max_length"]
        (folder / "tuner.json").write_text(json.dumps(details))
    elif how == "a length that is none":
        (folder / "tuner.json").write_text(json.dumps({**details, "new_tokens": "many"}))
    elif how == "no weights":
        (folder / "adapter_model.safetensors").unlink()
    elif how == "another rank":
        config = json.loads((folder / "adapter_config.json").read_text())
        (folder / "adapter_config.json").write_text(json.dumps({**config, "r": 7}))


@pytest.mark.parametrize("how", ["no tuner.json", "no length", "a length that is none", "no weights", "another rank"])
def test_a_damaged_adapter_is_an_error_for_a_person(base: Path, tmp_path: Path, how: str) -> None:
    folder = toy.save(toy.trained(base), tmp_path / "adapter")
    _damage(folder, how)
    with pytest.raises(StoreError, match=str(folder)):
        QaPredictor(folder)


def test_a_base_that_is_gone(base: Path, tmp_path: Path) -> None:
    folder = toy.save(toy.trained(base), tmp_path / "adapter")
    details = json.loads((folder / "tuner.json").read_text(encoding="utf-8"))
    (folder / "tuner.json").write_text(json.dumps({**details, "base_model": "/no/longer/there"}))
    with pytest.raises(BaseModelError, match="/no/longer/there"):
        QaPredictor(folder)
