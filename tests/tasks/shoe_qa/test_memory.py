"""What saves memory, in the training loop: recomputed layers, moments in 8 bits, a base in 4 bits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.engine.toy import furthest, train, weights
from tests.tasks.shoe_qa import toy
from tuner.engine.contract import EngineSettings
from tuner.engine.packing import Packing
from tuner.engine.trainer import DeviceEngine
from tuner.tasks.shoe_qa.prepare import QaData
from tuner.tasks.task import Prepared

PARAMS: dict[str, Any] = {"dropout": 0.2, "target_modules": toy.EVERYWHERE, "learning_rate": 1e-3}


def packing_of(base: Path, *ids: str, **memory: bool) -> Packing:
    """A training loop with these trials, of different ranks."""
    packing = toy.make_packing(base, memory=memory)
    for trial_id in ids:
        number = ord(trial_id)
        packing.start(toy.make_spec(trial_id, seed=number, rank=number % 13 + 2, epochs=9, **PARAMS))
    return packing


def test_recomputed_layers_teach_the_same(base: Path) -> None:
    plain, recomputed = packing_of(base, "a", "b"), packing_of(base, "a", "b", checkpointing=True)
    for packing in (plain, recomputed):
        train(packing, "ab", 4)
    for trial_id in "ab":
        assert furthest(weights(plain, trial_id), weights(recomputed, trial_id)) < 1e-6
    with_adapter = [toy.timeless(packing.report(["a"])[0].metrics) for packing in (plain, recomputed)]
    for name in ("validation_loss", "rubric", "preservation", "loss"):
        assert with_adapter[0][name] == pytest.approx(with_adapter[1][name], abs=1e-5), name


def test_a_trial_with_8_bit_moments_resumes_bit_by_bit(base: Path) -> None:
    through = packing_of(base, "a", optimizer_8bit=True)
    train(through, "a", 3)
    checkpoint = through.checkpoint("a")
    train(through, "a", 3)
    resumed = packing_of(base, optimizer_8bit=True)
    resumed.start(through.trials["a"].plan.spec, checkpoint)
    train(resumed, "a", 3)
    assert furthest(weights(resumed, "a"), weights(through, "a")) == 0
    assert resumed.checkpoint("a").count(b"first") == through.checkpoint("a").count(b"first") > 0


def test_8_bit_moments_teach_almost_the_same_alone_and_in_company(base: Path) -> None:
    plain, alone, company = packing_of(base, "a"), *(
        packing_of(base, *ids, optimizer_8bit=True) for ids in ("a", "bac")
    )  # fmt: skip
    start = weights(plain, "a")
    train(plain, "a", 12)
    train(alone, "a", 12)
    train(company, "bac", 12)
    moved = furthest(weights(plain, "a"), start)
    assert moved > 5e-3
    assert 0 < furthest(weights(alone, "a"), weights(plain, "a")) < 0.3 * moved
    # sums in another order may tip a moment over to the next share
    assert furthest(weights(company, "a"), weights(alone, "a")) < 0.1 * moved


def test_a_base_in_4_bits_is_trained_on_and_answers(base: Path) -> None:
    pytest.importorskip("bitsandbytes", reason="a base in 4 bits needs bitsandbytes")
    packing = packing_of(base, "a", "b", base_4bit=True, optimizer_8bit=True, checkpointing=True)
    layer = packing.task.model.get_submodule(packing.task.modules[0]).base  # type: ignore[attr-defined]
    assert layer.weight.dtype == torch.uint8
    kept = layer.weight.data.clone()
    first = packing.report("ab")
    train(packing, "ab", 12)
    last = packing.report("ab")
    assert torch.equal(layer.weight.data, kept)
    for before, after in zip(first, last, strict=True):
        assert after.status == "ok"
        assert after.metrics["validation_loss"] < before.metrics["validation_loss"]


def test_why_a_base_is_not_in_4_bits_is_told_by_its_engine(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tuner.bases.four_bit.why_not", lambda _: "it is Monday.")
    config = toy.make_config(base, memory={"base_4bit": True})
    prepared = Prepared(QaData(toy.make_splits(), toy.GENERAL, False), {})
    engine = DeviceEngine(EngineSettings(config, "cpu", options={"prepared": prepared}))
    try:
        notes = engine.info().notes
    finally:
        engine.close()
    assert notes == (
        "the config asks for it",
        "memory.base_4bit = True: the base is loaded unquantised, since it is Monday.",
    )
