"""The embedded chat base is small, speaks, and is used only with the weights that it was measured with."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from tuner.bases import shoe_chat
from tuner.bases.chat import ChatFormat
from tuner.bases.describe import describe
from tuner.bases.load import load_causal
from tuner.bases.minilm import sha256
from tuner.errors import BaseModelError


def test_the_shipped_weights_are_the_right_ones_and_small() -> None:
    weights = shoe_chat.locate() / "model.safetensors"
    assert sha256(weights) == shoe_chat.SHA256
    assert weights.stat().st_size <= 20e6


def test_described_by_its_short_name() -> None:
    facts = describe("shoe_chat")
    assert (facts.name, facts.model_type, facts.checksum) == ("shoe_chat", "llama", shoe_chat.SHA256)
    assert "zh" in facts.languages


def test_it_has_the_parameters_that_its_record_tells() -> None:
    model = load_causal(describe("shoe_chat"), torch.float32)
    assert not model.training
    assert {value.dtype for value in model.parameters()} == {torch.float32}
    count = sum(value.numel() for value in model.parameters())
    assert count <= 10_000_000
    record = json.loads((shoe_chat.FOLDER / "training.json").read_text("utf-8"))
    assert record["parameters"] == count
    assert record["losses"][-1]["loss"] < record["losses"][0]["loss"] / 2


def test_it_answers_in_the_language_of_the_question() -> None:
    facts = describe("shoe_chat")
    chat, model = ChatFormat.open(facts), load_causal(facts, torch.float32)
    for question, chinese in (("球鞋的鞋帶要怎麼洗？", True), ("How do I wash the laces of my sneakers?", False)):
        ids = torch.tensor([chat.prompt([{"role": "user", "content": question}])])
        written = model.generate(  # type: ignore[operator]
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=60, do_sample=False, eos_token_id=sorted(chat.stop)
        )[0, ids.shape[1] :].tolist()
        assert written[-1] in chat.stop
        answer = chat.text(written)
        assert len(answer) > 5
        assert any("\u4e00" <= letter <= "\u9fff" for letter in answer) is chinese


def test_one_changed_byte_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = bytearray((shoe_chat.FOLDER / "model.safetensors").read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "model.safetensors").write_bytes(content)
    monkeypatch.setattr(shoe_chat, "FOLDER", tmp_path)
    with pytest.raises(BaseModelError, match=rf"expected {shoe_chat.SHA256}: the file is damaged") as caught:
        shoe_chat.locate.__wrapped__()
    assert sha256(tmp_path / "model.safetensors") in str(caught.value)


def test_missing_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shoe_chat, "FOLDER", tmp_path)
    with pytest.raises(BaseModelError, match=r"its weights are missing.*python -m tuner\.bases\.shoe_chat\.pretrain"):
        shoe_chat.locate.__wrapped__()


def test_a_folder_of_ones_own_is_taken_as_it_is(tmp_path: Path) -> None:
    shutil.copytree(shoe_chat.FOLDER, tmp_path / "mine")
    assert ChatFormat.open(describe(str(tmp_path / "mine"))).prompt([{"role": "user", "content": "Hi"}])
