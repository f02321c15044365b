"""A packed trial learns what PEFT's own LoRA learns with torch's AdamW, from the same weights on the same rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model

from tests.engine import toy
from tuner.bases.describe import describe
from tuner.bases.load import load_classifier
from tuner.lora.adapter import peft_names

# PEFT asks transformers for a name that it will drop
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
DECAY, RATE, STEPS = 0.1, 5e-3, 20


def peft_model(base: Path, targets: list[str], full: tuple[str, ...], tensors: dict[str, torch.Tensor]) -> PeftModel:
    """The base under PEFT, its adapter and head set to these weights; dropout of the base is off, as in the engine."""
    config = LoraConfig(
        task_type="SEQ_CLS", r=3, lora_alpha=12, target_modules=targets, modules_to_save=list(full), lora_dropout=0.0
    )
    model = get_peft_model(load_classifier(describe(str(base)), 2), config).eval()
    named = {}
    for name, value in peft_names(tensors).items():
        adapter = name.replace(".weight", ".default.weight") if "lora_" in name else name
        for head in full:
            adapter = adapter.replace(f"model.{head}.", f"model.{head}.modules_to_save.default.")
        named[adapter] = value
    missing = model.load_state_dict(named, strict=False)
    assert not missing.unexpected_keys
    trained = {name for name, value in model.named_parameters() if value.requires_grad}
    assert trained == named.keys()  # the same modules are trained, no more and no fewer
    return model


@pytest.mark.parametrize("everywhere", [False, True])
@pytest.mark.parametrize("kind", toy.KINDS)
def test_twenty_steps(toy_bases: dict[str, Path], kind: str, everywhere: bool) -> None:
    packing = toy.make_packing(toy_bases[kind])
    targets = (toy.EVERYWHERE if everywhere else toy.TARGETS)[kind]
    trial = toy.make_spec(
        rank=3, alpha=12, learning_rate=RATE, weight_decay=DECAY, batch_size=6, epochs=4, target_modules=targets
    )
    packing.start(trial)
    plan, task = packing.trials["a"].plan, packing.task
    full = task.layout.trained  # type: ignore[attr-defined]
    written = [name for name in task.modules if name in packing.task.shape(trial.params).targets]  # type: ignore[attr-defined]
    model = peft_model(toy_bases[kind], written, full, toy.weights(packing, "a"))
    decayed = [value for name, value in model.named_parameters() if value.requires_grad and not name.endswith("bias")]
    biases = [value for name, value in model.named_parameters() if value.requires_grad and name.endswith("bias")]
    groups: list[dict[str, Any]] = [{"params": decayed}, {"params": biases, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=RATE, weight_decay=DECAY)
    shape = packing.store.shapes[packing.trials["a"].slot]
    assert shape is not None

    samples = 0
    for _ in range(STEPS):
        rows = plan.next_rows(samples)
        samples += len(rows)
        batch = task.tokenizer.pad({"input_ids": [task.rows["train"][row] for row in rows]}, return_tensors="pt")  # type: ignore[attr-defined]
        labels = task.labels["train"][rows]  # type: ignore[attr-defined]
        loss = model(**batch, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_([*decayed, *biases], 1.0)
        before = packing.trials["a"].progress.loss_sum
        packing.step(["a"])
        progress = packing.trials["a"].progress
        assert (progress.loss_sum - before) / len(rows) == pytest.approx(loss.item(), abs=1e-5)
        assert progress.gradient_norm == pytest.approx(norm.item(), abs=1e-4)
        mine = peft_names(packing.store.layout.trimmed(packing.store.gradients[0], shape))
        _close(mine, model, full, gradients=True)
        optimizer.step()
    start = toy.make_packing(toy_bases[kind])
    start.start(trial)
    assert toy.furthest(toy.weights(start, "a"), toy.weights(packing, "a")) > 10 * RATE  # something was learnt
    _close(peft_names(toy.weights(packing, "a")), model, full, gradients=False)


def _close(mine: dict[str, torch.Tensor], model: PeftModel, full: tuple[str, ...], *, gradients: bool) -> None:
    theirs = {}
    for name, value in model.named_parameters():
        if value.requires_grad:
            plain = name.replace(".modules_to_save.default", "").replace(".default", "")
            theirs[plain] = value.grad if gradients else value.data
    assert mine.keys() == theirs.keys()
    for name, value in mine.items():
        torch.testing.assert_close(value, theirs[name], rtol=0, atol=1e-5, msg=lambda text, n=name: f"{n}: {text}")
