"""A saved adapter answers as the engine did, piece by piece, in whole characters."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tests.tasks.shoe_qa import toy
from tuner import tasks
from tuner.cli.main import main
from tuner.tasks.shoe_qa.predict import QaPredictor
from tuner.tasks.task import Streaming

# PEFT asks transformers for a name that it will drop
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
SYSTEM = "請簡短回答。"
QUESTIONS = [row.question for row in toy.make_splits().test]


@pytest.fixture(scope="module")
def folder(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter whose training rows begin with a system prompt."""
    return toy.save(toy.trained(base, toy.make_splits(SYSTEM)), tmp_path_factory.mktemp("saved") / "adapter")


@pytest.fixture(scope="module")
def predictor(folder: Path) -> QaPredictor:
    found = tasks.spec("shoe_qa").predictor(folder)
    assert isinstance(found, QaPredictor)
    return found


class Scripted:
    """A model that says given tokens, whatever it is asked, and keeps what it was given to read."""

    def __init__(self, tokens: list[int], size: int) -> None:
        self.tokens, self.size = tokens, size
        self.read: list[list[int]] = []

    def __call__(self, input_ids: torch.Tensor, **_: Any) -> Any:
        logits = torch.zeros(1, 1, self.size)
        logits[0, 0, self.tokens[len(self.read)]] = 1
        self.read.append(input_ids[0].tolist())
        return SimpleNamespace(logits=logits, past_key_values=None)


def script(
    predictor: QaPredictor, monkeypatch: pytest.MonkeyPatch, text: str, cut: int = 0, ended: bool = True
) -> Scripted:
    """Make the predictor say this text, without its last `cut` tokens."""
    tokens = predictor.chat.tokenizer.encode(text, add_special_tokens=False).ids
    tokens = tokens[: len(tokens) - cut]
    monkeypatch.setattr(predictor, "new_tokens", len(tokens) + ended)
    model = Scripted([*tokens, min(predictor.chat.stop)], predictor.chat.tokenizer.get_vocab_size())
    monkeypatch.setattr(predictor, "model", model)
    return model


@pytest.mark.parametrize("system", ["", SYSTEM])
def test_the_predictor_answers_as_the_engine(
    base: Path, tmp_path: Path, system: str, capfd: pytest.CaptureFixture[str]
) -> None:
    packing = toy.trained(base, toy.make_splits(system))
    predictor = tasks.spec("shoe_qa").predictor(toy.save(packing, tmp_path / "adapter"))
    expected = packing.task.outputs(toy.pack_of(packing, "a"), "test", 8)
    capfd.readouterr()
    found = predictor.predict([item.input for item in expected])
    assert capfd.readouterr() == ("", "")
    assert [each["answer"] for each in found] == [item.answer for item in expected]
    assert len({each["answer"] for each in found}) > 4, "questions get their own answers"
    assert all(each["seconds"] >= 0 and each.keys() == {"answer", "seconds"} for each in found)
    assert predictor.predict([]) == []


def test_pieces_join_to_the_answer(predictor: QaPredictor) -> None:
    assert isinstance(predictor, Streaming)
    longest = 0
    for question, answer in zip(QUESTIONS, predictor.predict(QUESTIONS), strict=True):
        pieces = list(predictor.stream(question))
        assert "".join(pieces) == answer["answer"]
        assert all(pieces)
        longest = max(longest, len(pieces))
    assert longest > 10


def test_a_piece_is_there_before_the_next_is_computed(predictor: QaPredictor, monkeypatch: pytest.MonkeyPatch) -> None:
    model = script(predictor, monkeypatch, "要通風。")
    stream = predictor.stream("鞋底？")
    assert (next(stream), len(model.read)) == ("要", 1)
    assert (next(stream), len(model.read)) == ("通", 2)
    assert "".join(stream) == "風。"


@pytest.mark.parametrize("text", ["乾🙂🧦濕，ж ok é！", "🙂", "á b", " 要 通風 "])
def test_characters_of_several_tokens_come_whole(
    predictor: QaPredictor, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    script(predictor, monkeypatch, text)
    pieces = list(predictor.stream("鞋底？"))
    assert "".join(pieces) == predictor.chat.text(predictor.chat.tokenizer.encode(text).ids) == text.strip()
    assert not any("\ufffd" in piece for piece in pieces)


@pytest.mark.parametrize("text", ["乾🙂", "乾🙂🧦", "🙂🙂🙂"])
@pytest.mark.parametrize("cut", [1, 2, 3])
def test_half_a_character_is_never_shown(
    predictor: QaPredictor, monkeypatch: pytest.MonkeyPatch, text: str, cut: int
) -> None:
    script(predictor, monkeypatch, text, cut, ended=False)
    assert "".join(predictor.stream("鞋底？")) == text[:-1]


def test_nothing_is_said_by_a_model_that_ends_at_once(predictor: QaPredictor, monkeypatch: pytest.MonkeyPatch) -> None:
    script(predictor, monkeypatch, "")
    assert list(predictor.stream("鞋底？")) == []
    script(predictor, monkeypatch, "")
    assert predictor.predict(["鞋底？"])[0]["answer"] == ""


def test_a_question_is_asked_behind_the_system_prompt_of_the_rows(
    predictor: QaPredictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = script(predictor, monkeypatch, "好。")
    assert list(predictor.stream("鞋底？"))
    turns = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": "鞋底？"}]
    assert model.read[0] == predictor.chat.prompt(turns)
    assert [len(ids) for ids in model.read[1:]] == [1, 1], "then one token after another"


def test_a_question_that_is_too_long_is_read_from_its_end(
    predictor: QaPredictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    question = "鞋子" * 200 + "要通風嗎？"
    model = script(predictor, monkeypatch, "好。")
    assert "".join(predictor.stream(question)) == "好。"
    turns = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": question}]
    assert model.read[0] == predictor.chat.prompt(turns)[-95:]
    monkeypatch.undo()
    assert predictor.predict([question])[0]["answer"] != ""


def test_the_command_prints_what_is_said(
    folder: Path, predictor: QaPredictor, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = (each["answer"] for each in predictor.predict(QUESTIONS[:2]))
    capsys.readouterr()
    command = ["predict", "shoe_qa", "--adapter", str(folder)]
    assert main([*command, QUESTIONS[0]]) == 0
    assert capsys.readouterr().out == f"{first}\n"
    assert main([*command, *QUESTIONS[:2]]) == 0
    assert capsys.readouterr().out == f"> {QUESTIONS[0]}\n{first}\n\n> {QUESTIONS[1]}\n{second}\n"
    assert main([*command, "--json", *QUESTIONS[:2]]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line["input"], line["answer"]) for line in lines] == list(zip(QUESTIONS[:2], (first, second), strict=True))
