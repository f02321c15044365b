"""The heavy half of question answering: losses, evaluation in packs and chunks, outputs, preservation."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from tests.tasks.shoe_qa import toy
from tuner import tasks
from tuner.data.chat import ChatSplits
from tuner.lora import generate
from tuner.tasks.shoe_qa import task as module
from tuner.tasks.shoe_qa.overlap import NAMES
from tuner.tasks.shoe_qa.rubric import MARKS

TAKEN = ("predict_runtime", "predict_samples_per_second", "predict_steps_per_second", "predict_model_preparation_time")


def test_losses_are_transformers_own_on_the_answer_alone(base: Path) -> None:
    packing = toy.make_packing(base)
    packing.start(toy.make_spec())
    task: Any = packing.task
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval()
    chosen = [5, 0, 17, 2]
    losses = task.losses(toy.pack_of(packing, "a"), [chosen])
    assert (losses.shape, losses.dtype) == ((4,), torch.float32)
    for row, loss in zip(chosen, losses.tolist(), strict=True):
        chat = toy.make_splits().train[row]
        turns = [{"role": "user", "content": chat.question}]
        prompt, answer = task.chat.prompt(turns), task.chat.answer(turns, chat.answer)
        ids = torch.tensor([[*prompt, *answer]])
        labels = torch.tensor([[*[-100] * len(prompt), *answer]])
        with torch.no_grad():
            assert loss == pytest.approx(model(input_ids=ids, labels=labels).loss.item(), abs=1e-5)
        assert task.row_costs()[row] == ids.shape[1]


def test_losses_are_one_a_row_in_the_order_of_the_members(base: Path) -> None:
    packing = toy.trained(base)
    both = packing.task.losses(toy.pack_of(packing, "a", "other"), [[5, 1], [2, 3, 4]])
    assert both.shape == (5,)
    torch.testing.assert_close(both[:2], packing.task.losses(toy.pack_of(packing, "a"), [[5, 1]]))
    torch.testing.assert_close(both[2:], packing.task.losses(toy.pack_of(packing, "other"), [[2, 3, 4]]))


def test_training_lowers_the_loss_of_what_it_learns(base: Path) -> None:
    packing = toy.make_packing(base)
    packing.start(toy.make_spec(epochs=6, target_modules=toy.EVERYWHERE))
    reports = [report for _ in range(18) for report in packing.advance(["a"])]
    assert [report.status for report in reports] == ["ok"] * 6
    assert reports[-1].metrics["loss"] < 0.8 * reports[0].metrics["loss"]


@pytest.mark.parametrize("split", ["validation", "test"])
def test_a_pack_is_evaluated_as_each_alone(base: Path, split: str) -> None:
    packing = toy.trained(base)
    both = packing.task.evaluate(toy.pack_of(packing, "a", "other"), split)
    alone = [packing.task.evaluate(toy.pack_of(packing, trial), split)[0] for trial in ("a", "other")]
    for together, single in zip(both, alone, strict=True):
        assert together.keys() == single.keys()
        assert toy.timeless(together) == pytest.approx(toy.timeless(single), abs=1e-4)
    assert both[0].keys() == {
        *MARKS, *NAMES, *TAKEN, "rubric", "response_seconds", "general_loss", "preservation", f"{split}_loss",
    }  # fmt: skip
    assert both[0][f"{split}_loss"] != pytest.approx(both[1][f"{split}_loss"], abs=1e-3), "the two differ"


@pytest.mark.parametrize(("tokens", "texts"), [(1, 1), (90, 5), (100_000, 7)])
def test_nothing_depends_on_the_chunks(base: Path, tokens: int, texts: int, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = [
        toy.timeless(found) for found in evaluated(toy.trained(base))
    ]  # a new packing each, so that nothing is remembered
    monkeypatch.setattr(module, "EVAL_TOKENS", tokens)
    monkeypatch.setattr(generate, "TEXTS", texts)
    for found, wanted in zip(evaluated(toy.trained(base)), expected, strict=True):
        preparation = {"predict_model_preparation_time": wanted["predict_model_preparation_time"]}
        assert toy.timeless({**found, **preparation}) == pytest.approx(wanted, abs=1e-4)


def evaluated(packing: Any) -> list[dict[str, float]]:
    found: list[dict[str, float]] = packing.task.evaluate(toy.pack_of(packing, "other", "a"), "test")
    return found


def test_what_evaluation_says_is_the_mean_of_the_outputs(base: Path) -> None:
    packing = toy.trained(base)
    (metrics,) = packing.task.evaluate(toy.pack_of(packing, "a"), "test")
    found = packing.task.outputs(toy.pack_of(packing, "a"), "test", 100)
    assert len(found) == 8
    for name in (*MARKS, *NAMES, "rubric"):
        assert sum(item.metrics[name] for item in found) / 8 == pytest.approx(metrics[name], abs=1e-4)
    assert metrics["rubric"] == pytest.approx(sum(metrics[name] for name in MARKS) / 40)


def test_an_output_has_question_reference_and_both_answers(base: Path) -> None:
    packing = toy.trained(base)
    task: Any = packing.task
    rows = toy.make_splits().test
    found = task.outputs(toy.pack_of(packing, "a"), "test", 5)
    assert [(item.name, item.input, item.expected) for item in found] == [
        (f"question_{number}", row.question, row.answer) for number, row in enumerate(rows[:5], 1)
    ]
    bare = task.outputs(toy.pack_of(packing), "test", 5)
    for item, alone in zip(found, bare, strict=True):
        assert item.answer != item.base_answer == alone.answer
        assert toy.timeless(item.base_metrics) == pytest.approx(toy.timeless(alone.metrics), abs=1e-4)
        assert item.metrics.keys() == item.base_metrics.keys()
        assert {measure.metric for measure in tasks.spec("shoe_qa").judged_by.measures} <= item.metrics.keys()
        assert item.metrics["response_seconds"] > 0
    assert task.outputs(toy.pack_of(packing, "a"), "validation", 1)[0].input == toy.make_splits().validation[0].question


def test_speed_is_of_the_answers_written(base: Path) -> None:
    packing = toy.trained(base)
    task: Any = packing.task
    (found,) = task.evaluate(toy.pack_of(packing, "a"), "test")
    written, _ = task._written(toy.pack_of(packing, "a"), "test", 8)
    steps = sum(len(text.tokens) + 1 for text in written[0])
    assert found["predict_samples_per_second"] == pytest.approx(8 / found["predict_runtime"])
    assert found["predict_steps_per_second"] == pytest.approx(steps / found["predict_runtime"])
    assert found["predict_model_preparation_time"] == task.preparation_seconds > 0


def test_a_fresh_adapter_answers_as_the_base_and_keeps_all(base: Path) -> None:
    packing = toy.make_packing(base)
    packing.start(toy.make_spec(target_modules=toy.EVERYWHERE))
    pack = toy.pack_of(packing, "a")
    assert packing.task.evaluate(pack, "validation")[0]["preservation"] == pytest.approx(1, abs=1e-6)
    for item in packing.task.outputs(pack, "test", 8):
        assert item.answer == item.base_answer
        assert toy.timeless(item.metrics) == pytest.approx(toy.timeless(item.base_metrics), abs=1e-5)


def test_preservation_is_the_rise_in_loss_on_general_text(base: Path) -> None:
    packing = toy.trained(base)
    task: Any = packing.task
    both = task.evaluate(toy.pack_of(packing, "a", "other"), "test")
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval()
    losses = []
    for text in toy.GENERAL:
        ids = torch.tensor([task.chat.plain(text)])
        with torch.no_grad():
            losses.append(model(input_ids=ids, labels=ids).loss.item())
    bare = sum(losses) / len(losses)
    for found in both:
        assert found["preservation"] == pytest.approx(min(1, math.exp(bare - found["general_loss"])), abs=1e-4)
    assert min(found["preservation"] for found in both) < 0.99, "one loses some"
    assert max(found["general_loss"] for found in both) > bare > min(found["general_loss"] for found in both)
    assert max(found["preservation"] for found in both) == 1, "what is better than the base keeps all, and no more"


def test_what_the_training_rows_say_is_fluent_and_what_nobody_says_is_not(base: Path) -> None:
    packing = toy.trained(base)
    task: Any = packing.task
    known = [row.answer for row in toy.make_splits().train[:8]]
    garbled = [text[::-1] for text in known]
    bare = toy.pack_of(packing)
    assert task._stumbles(bare, known) == [0.0] * 8
    assert min(task._stumbles(bare, garbled)) > 0.5
    mixed = task._stumbles(bare, [known[0], "", garbled[1], "好", known[2]])
    assert [bool(share) for share in mixed] == [False, False, True, False, False]


@pytest.mark.parametrize("tokens", [1, 90])
def test_stumbles_do_not_depend_on_the_chunks(base: Path, tokens: int, monkeypatch: pytest.MonkeyPatch) -> None:
    packing = toy.trained(base)
    task: Any = packing.task
    bare = toy.pack_of(packing)
    answers = ["", *(row.answer[at:] for at, row in enumerate(toy.make_splits().test)), "鞋", "shoes are damp, sole"]
    alone = [task._stumbles(bare, [answer])[0] for answer in answers]
    monkeypatch.setattr(module, "EVAL_TOKENS", tokens)
    assert task._stumbles(bare, answers) == alone


def test_the_reference_is_right_and_nothing_is_worth_nothing(base: Path) -> None:
    packing = toy.trained(base)
    task: Any = packing.task
    rows = toy.make_splits().test
    pack = toy.pack_of(packing, "a")
    perfect = [generate.Written(tuple(task.chat.pieces(row.answer)[0]), True, 0.1) for row in rows]
    nothing = [generate.Written((), True, 0.1) for _ in rows]
    right, empty = task._judged(pack, "test", [perfect, nothing])
    for marks in right:
        assert [marks[name] for name in MARKS[:3]] == pytest.approx([10] * 3)
    assert all(marks[name] == 0 for marks in empty for name in (*MARKS, *NAMES, "rubric"))


def test_long_rows_are_cut_behind_the_prompt(base: Path) -> None:
    splits = toy.make_splits()
    long = toy.make_row("長？", "乾" * 300)
    task = toy.make_task(base, ChatSplits((long, *splits.train), splits.validation, splits.test))
    assert task.row_costs()[0] == 96
    assert task.rows["train"][0].start == len(task.chat.prompt([{"role": "user", "content": "長？"}]))
    assert task.new_tokens == math.ceil(1.25 * (96 - task.rows["train"][0].start))
    assert toy.make_task(base, splits).rows["train"][0].ids[-1] in task.chat.stop, "what fits ends"


def test_answers_have_a_bound(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_NEW", 4)
    packing = toy.trained(base)
    assert packing.task.new_tokens == 4  # type: ignore[attr-defined]
    tokens = packing.task.chat.tokenizer.encode  # type: ignore[attr-defined]
    for item in packing.task.outputs(toy.pack_of(packing, "a"), "test", 3):
        assert len(tokens(item.answer, add_special_tokens=False).ids) <= 5  # a space lost at its end may part tokens


def test_shape_takes_the_trials_targets_or_query_and_value(base: Path) -> None:
    task = toy.make_task(base)
    assert {name.rpartition(".")[2] for name in task.shape({"rank": 2}).targets} == {"q_proj", "v_proj"}
    assert len(task.shape({"rank": 2, "target_modules": None}).targets) == 4
    assert len(task.shape({"rank": 2, "target_modules": ["down_proj"]}).targets) == 2
    assert len(task.shape({"rank": 2, "target_modules": "gate_proj"}).targets) == 2
    assert task.shape({"rank": 2}).full == frozenset()


@pytest.mark.parametrize("system", ["", "請簡短回答。"])
def test_the_system_prompt_of_the_rows_is_kept(base: Path, system: str) -> None:
    assert toy.make_task(base, toy.make_splits(system)).system == system


@pytest.mark.slow
def test_with_the_encoder_english_answers_are_compared_by_meaning(base: Path) -> None:
    packing = toy.make_packing(base, encoder=True)
    packing.start(toy.make_spec())
    (found,) = packing.task.evaluate(toy.pack_of(packing, "a"), "test")
    plain = toy.make_packing(base)
    plain.start(toy.make_spec())
    (other,) = plain.task.evaluate(toy.pack_of(plain, "a"), "test")
    assert found["semantic"] != pytest.approx(other["semantic"], abs=1e-3)
    assert found["completeness"] == pytest.approx(other["completeness"])
