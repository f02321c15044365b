"""Pretraining in small: it learns, repeats itself, keeps documents apart, and writes what transformers opens."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer

from tuner.bases.shoe_chat import corpus, pretrain, tokens
from tuner.bases.shoe_chat.tokens import BEGIN, END

CPU = torch.device("cpu")
TINY = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
SAID = ("Dry the shoes at once, then let them stand.", "鞋子要放在通風的地方", "Yes.")
DOCUMENTS = tuple(f"{BEGIN}{said}{END}" for said in SAID)
Result = tuple[Tokenizer, Any, dict[str, Any]]


@pytest.fixture
def thirty_lines(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """A corpus of 30 lines, in batches of two sequences."""
    lines = [line for line in corpus.read() if line["kind"] != "evasive"][:30]
    monkeypatch.setattr(corpus, "read", lambda: lines)
    monkeypatch.setattr(pretrain, "BATCH", 2)
    return lines


def train(seed: int = 0, epochs: int = 2) -> Result:
    return pretrain.pretrain(epochs, seed, CPU, shape=TINY)


@pytest.fixture(scope="module")
def toy() -> tuple[Tokenizer, Any]:
    """A tokenizer and a fresh model, not to be trained, with weights so large that all it sees counts."""
    tokenizer = tokens.train(SAID)
    torch.manual_seed(0)
    model = pretrain.build(tokenizer, {**pretrain.SHAPE, **TINY}).eval()
    with torch.no_grad():
        for value in model.parameters():
            value *= 10 if value.ndim > 1 else 1
    return tokenizer, model


def test_it_learns_and_tells_how(thirty_lines: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]) -> None:
    tokenizer, model, record = train(epochs=5)
    losses = [row["loss"] for row in record["losses"]]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < losses[0] - 0.5
    assert [row["epoch"] for row in record["losses"] if "kept_out_loss" in row] == [5]
    assert (record["epochs"], record["seed"], record["device"]) == (5, 0, "cpu")
    assert record["corpus_lines"] == len(thirty_lines) - 1  # the first is kept out
    assert record["parameters"] == sum(value.numel() for value in model.parameters())
    assert record["tokens_seen"] > 5 * 1000
    assert not model.training
    assert capsys.readouterr().out.count("\n") == 5
    ids = pretrain.sequences(tokenizer, corpus.documents(thirty_lines[1:], pretrain.random.Random(9)))
    with torch.no_grad():
        kept = pretrain.sequence_loss(model, list(ids), CPU).item()
    assert kept < losses[0]


def test_a_seed_gives_the_same_weights_and_another_others(thirty_lines: list[dict[str, Any]]) -> None:
    first, again, other = (dict(train(seed, 1)[1].state_dict()) for seed in (3, 3, 4))
    assert all(torch.equal(value, again[name]) for name, value in first.items())
    assert not torch.equal(first["model.embed_tokens.weight"], other["model.embed_tokens.weight"])


def losses_of(model: Any, ids: Sequence[int]) -> torch.Tensor:
    """Loss of each token of one document by itself but the first."""
    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits[0]
    return F.cross_entropy(logits[:-1], torch.tensor(ids[1:]), reduction="none")


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 2, 0), (2, 2, 1)])
def test_documents_of_a_sequence_do_not_see_each_other(toy: tuple[Tokenizer, Any], order: tuple[int, ...]) -> None:
    """The loss of a sequence is that of its documents, each by itself: masks, positions and targets all agree."""
    tokenizer, model = toy
    (sequence,) = pretrain.sequences(tokenizer, [DOCUMENTS[number] for number in order])
    short = next(pretrain.sequences(tokenizer, DOCUMENTS[2:]))  # a batch has padding
    alone = [tokenizer.encode(DOCUMENTS[number], add_special_tokens=False).ids for number in (*order, 2)]
    expected = torch.cat([losses_of(model, ids) for ids in alone]).mean()
    with torch.no_grad():
        found = pretrain.sequence_loss(model, [sequence, short], CPU)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_sequences_are_filled_in_order_and_long_documents_cut(
    toy: tuple[Tokenizer, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer, _ = toy
    ids = [tokenizer.encode(document, add_special_tokens=False).ids for document in DOCUMENTS]
    assert list(pretrain.sequences(tokenizer, [])) == []
    ((found, owners),) = pretrain.sequences(tokenizer, DOCUMENTS)
    assert found == [*ids[0], *ids[1], *ids[2]]
    assert owners == [0] * len(ids[0]) + [1] * len(ids[1]) + [2] * len(ids[2])
    monkeypatch.setattr(pretrain, "LENGTH", len(ids[0]))  # the longest
    assert len(ids[1]) + len(ids[2]) <= len(ids[0])
    parts = pretrain.sequences(tokenizer, [DOCUMENTS[2], DOCUMENTS[0], DOCUMENTS[1], DOCUMENTS[2]])
    assert [part for part, _ in parts] == [ids[2], ids[0], ids[1] + ids[2]]
    monkeypatch.setattr(pretrain, "LENGTH", 3)
    assert [part for part, _ in pretrain.sequences(tokenizer, DOCUMENTS)] == [part[:3] for part in ids]


def test_noise_exchanges_inputs_but_never_special_tokens_or_targets(toy: tuple[Tokenizer, Any]) -> None:
    tokenizer, model = toy
    (sequence,) = pretrain.sequences(tokenizer, DOCUMENTS)
    seen: dict[str, torch.Tensor] = {}

    class Watched:
        config = model.config

        def __call__(self, **given: Any) -> Any:
            seen.update(given)
            return model(**given)

    with torch.no_grad():
        clean = pretrain.sequence_loss(Watched(), [sequence], CPU)
        plain = seen["input_ids"]
        noisy = pretrain.sequence_loss(Watched(), [sequence], CPU, 1.0, torch.Generator().manual_seed(0))
    assert plain[0].tolist() == sequence[0]
    special = plain < len(tokens.SPECIAL)
    assert torch.equal(seen["input_ids"][special], plain[special])
    exchanged = seen["input_ids"][~special]
    assert (exchanged != plain[~special]).float().mean() > 0.8
    assert ((exchanged >= 262) & (exchanged < tokenizer.get_vocab_size())).all()  # no special token, no byte
    assert noisy != clean


def test_the_rate_rises_and_falls_to_a_tenth() -> None:
    rates = [pretrain._schedule(step, 200) for step in range(210)]
    assert rates[:6] == pytest.approx([1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6, 1])
    assert rates[6:200] == sorted(rates[6:200], reverse=True)
    assert rates[199] == pytest.approx(0.1, abs=1e-3)
    assert rates[200:] == pytest.approx([0.1] * 10)
    assert pretrain._schedule(0, 0) == 1


def test_the_command_writes_a_folder_that_transformers_opens(
    thirty_lines: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pretrain, "SHAPE", {**pretrain.SHAPE, **TINY})
    out = tmp_path / "new" / "model"
    monkeypatch.setattr(sys, "argv", ["pretrain", "--out", str(out), "--epochs", "1", "--device", "cpu"])
    pretrain.main()
    model = AutoModelForCausalLM.from_pretrained(out, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(out)
    assert model.config.vocab_size == len(tokenizer)
    assert json.loads((out / "training.json").read_text("utf-8"))["corpus_lines"] == len(thirty_lines) - 1
    ids = tokenizer.apply_chat_template(
        [{"role": "user", "content": "鞋子？"}], add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    assert model.generate(**ids, max_new_tokens=5, do_sample=False).shape[1] > ids["input_ids"].shape[1]
    assert (out / "model.safetensors").stat().st_mode & 0o777 == 0o644
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
