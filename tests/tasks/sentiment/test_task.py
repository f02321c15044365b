"""The heavy half of sentiment: losses, metrics and their chunks, preservation."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from tests.engine import toy
from tests.tasks.sentiment.test_adapter import engine_logits, trained
from tuner import tasks
from tuner.data.classification import Splits
from tuner.errors import TrialError
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
    sure = logits.softmax(-1)[torch.arange(len(labels)), labels].mean().item()
    assert found["label_probability"] == pytest.approx(sure, abs=1e-6)
    assert found.keys() == {"label_probability", "accuracy", "macro_f1", "test_loss", "preservation"}


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


@pytest.mark.parametrize("tokens", [1, 60, 100_000])
def test_an_output_is_what_the_adapter_makes_of_that_very_row(
    toy_bases: dict[str, Path], tokens: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    packing = trained(toy_bases["distilbert"])
    task: Any = packing.task
    monkeypatch.setattr(module, "EVAL_TOKENS", tokens)
    found = task.outputs(pack_of(packing, "a"), "test", 100)
    rows = toy.make_splits().test
    assert [(item.name, item.input) for item in found] == [(f"text_{i + 1}", row.text) for i, row in enumerate(rows)]
    names = ("negative", "positive")
    for item, row, tokens_, logits in zip(found, rows, task.rows["test"], engine_logits(packing, "test"), strict=True):
        assert (item.expected, item.base_answer) == (names[row.label], "")
        assert item.answer == names[int(logits.argmax())]
        bare, bent = (task._hidden(pack_of(packing, *ids), [[tokens_]], first_only=False)[0] for ids in ([], ["a"]))
        assert item.metrics == pytest.approx(
            {
                "label_probability": logits.softmax(-1)[row.label].item(),
                "accuracy": float(logits.argmax() == row.label),
                "preservation": F.cosine_similarity(bare.mean(0), bent.mean(0), dim=0).item(),
            },
            abs=1e-5,
        )
    assert {item.answer for item in found} == set(names), "rows that tell the two labels apart"
    assert task.outputs(pack_of(packing, "a"), "test", 0) == []
    assert found[0].metrics.keys() == {measure.metric for measure in tasks.spec("sentiment").judged_by.measures}


def test_outputs_are_the_best_adapters_and_agree_with_its_evaluation(
    toy_bases: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PRESERVATION_ROWS", 3)  # fewer than there are outputs, which must not change either
    packing = trained(toy_bases["bert"])
    packing.report(["a"])
    best, slot = packing.task.outputs(pack_of(packing, "a"), "validation", 16), packing.trials["a"].slot
    before = packing.evaluate("a", "validation")
    worse = {name: value + 0.5 for name, value in packing.store.tensors(slot).items()}
    packing.store.layout.fill(packing.store.weights[slot], worse)
    packing.store.restore(slot, "average", worse)
    assert packing.task.outputs(pack_of(packing, "a"), "validation", 16) != best
    found = packing.outputs("a", "validation", 16)
    assert found == best
    after = packing.evaluate("a", "validation")
    assert after == before
    for name, count in (("accuracy", 16), ("preservation", 3)):
        values = [item.metrics[name] for item in found[:count]]
        assert sum(values) / count == pytest.approx(after[name], abs=1e-5)
    assert packing.store.shapes[packing.max_pack] is None  # the spare slot is free again


def test_outputs_that_cannot_be_had_are_a_trial_error(
    toy_bases: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    packing = trained(toy_bases["bert"])

    def full(*args: Any, **settings: Any) -> None:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(packing.task, "_hidden", full)
    with pytest.raises(TrialError, match="even alone"):
        packing.outputs("a", "test", 3)
    assert packing.store.shapes[packing.max_pack] is None


def test_outputs_use_the_names_that_the_rows_gave_their_labels(toy_bases: dict[str, Path]) -> None:
    packing = toy.make_packing(toy_bases["bert"], replace(toy.make_splits(), label_names=("bad", "good")))
    packing.start(toy.make_spec())
    found = packing.outputs("a", "test", 5)
    assert {item.expected for item in found} == {"bad", "good"}
    assert {item.answer for item in found} <= {"bad", "good"}


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
