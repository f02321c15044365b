"""The heavy half of sentiment: losses, metrics and their chunks, preservation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from tests.engine import toy
from tests.tasks.sentiment.test_adapter import engine_logits, trained
from tuner.data.classification import Splits
from tuner.lora.packed import Member, Pack
from tuner.tasks.sentiment import task as module
from tuner.tasks.sentiment.task import _macro_f1


def pack_of(packing: Any, *ids: str) -> Pack:
    members = [Member(packing.trials[i].slot, packing.trials[i].plan.scale) for i in ids]
    return Pack(packing.store, members, torch.float32, train=False)


def test_losses_are_one_a_row_in_the_order_of_the_members(toy_bases: dict[str, Path]) -> None:
    packing = trained(toy_bases["bert"])
    both = packing.task.losses(pack_of(packing, "a", "other"), [[5, 1], [2, 3, 4]])
    assert both.shape == (5,)
    torch.testing.assert_close(both[:2], packing.task.losses(pack_of(packing, "a"), [[5, 1]]))
    torch.testing.assert_close(both[2:], packing.task.losses(pack_of(packing, "other"), [[2, 3, 4]]))
    labels = [toy.make_splits().train[row].label for row in (5, 1)]
    expected = F.cross_entropy(engine_logits(packing, "train")[[5, 1]], torch.tensor(labels), reduction="none")
    torch.testing.assert_close(both[:2], expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("tokens", [1, 60, 100_000])
def test_metrics_do_not_depend_on_the_chunks(
    toy_bases: dict[str, Path], tokens: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    packing = trained(toy_bases["distilbert"])
    monkeypatch.setattr(module, "EVAL_TOKENS", tokens)
    (_, found) = packing.task.evaluate(pack_of(packing, "other", "a"), "test")
    logits = engine_logits(packing, "test")
    labels = torch.tensor([row.label for row in toy.make_splits().test])
    assert found["accuracy"] == pytest.approx((logits.argmax(-1) == labels).float().mean().item(), abs=1e-6)
    assert found["test_loss"] == pytest.approx(F.cross_entropy(logits, labels).item(), abs=1e-5)
    assert found.keys() == {"accuracy", "macro_f1", "test_loss", "preservation"}


@pytest.mark.parametrize("tokens", [1, 60, 100_000])
def test_preservation_is_the_mean_cosine_of_mean_embeddings(
    toy_bases: dict[str, Path], tokens: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    packing = trained(toy_bases["roberta"])
    monkeypatch.setattr(module, "EVAL_TOKENS", tokens)
    monkeypatch.setattr(module, "PRESERVATION_ROWS", 5)
    found = [metrics["preservation"] for metrics in packing.task.evaluate(pack_of(packing, "a", "other"), "validation")]
    task: Any = packing.task
    for number, trial in enumerate(("a", "other")):
        cosines = []
        for row in task.rows["validation"][:5]:
            embeddings = []
            for pack in (pack_of(packing, trial), pack_of(packing)):
                hidden, _ = task._hidden(pack, [[row]], first_only=False)
                embeddings.append(hidden.detach().mean(0))
            cosines.append(F.cosine_similarity(*embeddings, dim=0).item())
        assert found[number] == pytest.approx(sum(cosines) / 5, abs=1e-5)
    assert found[0] != pytest.approx(found[1], abs=1e-4)


def test_a_fresh_adapter_preserves_everything(toy_bases: dict[str, Path]) -> None:
    packing = toy.make_packing(toy_bases["albert"])
    packing.start(toy.make_spec())
    assert packing.report(["a"])[0].metrics["preservation"] == pytest.approx(1, abs=1e-6)


def test_long_texts_are_cut_at_max_length(toy_bases: dict[str, Path]) -> None:
    rows = toy.make_splits()
    long = rows.train[0].__class__("good " * 200, 1, "row")
    task = toy.make_task(toy_bases["bert"], Splits((long, *rows.train), rows.validation, rows.test))
    assert task.row_costs()[0] == 70
    assert task.rows["train"][0][0] == task.tokenizer.cls_token_id
    assert task.rows["train"][0][-1] == task.tokenizer.sep_token_id


def test_shape_takes_the_trials_targets_or_query_and_value(toy_bases: dict[str, Path]) -> None:
    task = toy.make_task(toy_bases["bert"])
    assert {name.rpartition(".")[2] for name in task.shape({"rank": 2}).targets} == {"query", "value"}
    assert len(task.shape({"rank": 2, "target_modules": None}).targets) == 4
    assert len(task.shape({"rank": 2, "target_modules": ["key"]}).targets) == 2
    assert task.shape({"rank": 2}).full == {"classifier"}
    assert toy.make_task(toy_bases["distilbert"]).shape({"rank": 2}).full == {"pre_classifier", "classifier"}
    assert toy.make_task(toy_bases["roberta"]).shape({"rank": 2}).full == {"classifier.dense", "classifier.out_proj"}


@pytest.mark.parametrize(
    ("answers", "labels", "expected"),
    [
        ([1, 0], [1, 0], 1.0),
        ([0, 0], [1, 1], 0.0),
        ([1, 1, 1, 0], [1, 1, 0, 0], (2 / 3 + 0.8) / 2),
        ([1, 1], [1, 1], 0.5),
    ],
)
def test_macro_f1(answers: list[int], labels: list[int], expected: float) -> None:
    assert _macro_f1(torch.tensor(answers), torch.tensor(labels)) == pytest.approx(expected)
