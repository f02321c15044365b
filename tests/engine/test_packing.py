"""The training loop: a trial in a pack learns what it learns alone, and goes on from a checkpoint as if it had not
stopped."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.engine import toy
from tests.engine.test_usage import MEASURED
from tests.engine.toy import furthest, make_packing, make_spec, make_splits, train, weights
from tuner.config import BandConfig
from tuner.engine.contract import Report, TrialSpec
from tuner.engine.packing import Packing
from tuner.engine.usage import Usage
from tuner.errors import StoreError, TrialError
from tuner.lora.adapter import pack_checkpoint, unpack_checkpoint
from tuner.lora.packed import Pack


def company(kind: str = "bert") -> list[TrialSpec]:
    """Trials that have nothing in common."""
    every = toy.EVERYWHERE[kind]
    different: list[dict[str, Any]] = [
        {"rank": 1, "alpha": 8, "batch_size": 3, "dropout": 0.0},
        {"rank": 8, "alpha": 32, "batch_size": 7, "dropout": 0.1, "target_modules": every},
        {"rank": 5, "alpha": 4, "batch_size": 16, "dropout": 0.5, "target_modules": every[:3], "schedule": "linear"},
        {"rank": 2, "alpha": 16, "batch_size": 64, "dropout": 0.3, "target_modules": every[3:], "warmup_ratio": 0.2},
    ]
    return [make_spec("abcd"[i], seed=i + 1, epochs=99, **params) for i, params in enumerate(different)]


def solo(base: Path, spec: TrialSpec, steps: int) -> dict[str, torch.Tensor]:
    packing = make_packing(base, max_pack=1)
    packing.start(spec)
    train(packing, [spec.trial_id], steps)
    return weights(packing, spec.trial_id)


@pytest.mark.parametrize(("kind", "steps"), [("bert", 50), ("roberta", 12), ("distilbert", 12), ("albert", 12)])
def test_packed_equals_solo(toy_bases: dict[str, Path], kind: str, steps: int) -> None:
    packing = make_packing(toy_bases[kind])
    specs = company(kind)
    for spec in specs:
        packing.start(spec)
    start = weights(packing, "b")
    train(packing, "abcd", steps)
    for spec in specs:
        assert furthest(weights(packing, spec.trial_id), solo(toy_bases[kind], spec, steps)) < 1e-5
    assert furthest(weights(packing, "b"), start) > 0.005


def accumulated(spec: TrialSpec, batch: int, accumulation: int) -> TrialSpec:
    return replace(spec, params={**spec.params, "batch_size": batch, "accumulation": accumulation})


def test_accumulation_is_one_larger_batch(toy_bases: dict[str, Path]) -> None:
    """Beside one another; 40 rows make steps of 16, 16 and 8, and of 15, 15 and 10."""
    packing, larger = make_packing(toy_bases["bert"]), make_packing(toy_bases["bert"])
    every = toy.EVERYWHERE["bert"]
    whole = {"a": (4, 4), "b": (3, 5), "c": (16, 1), "d": (8, 99)}
    for letter, (batch, accumulation) in whole.items():
        spec = make_spec(letter, seed=ord(letter), epochs=9, schedule="cosine", warmup_steps=2, target_modules=every)
        packing.start(accumulated(spec, batch, accumulation))
        larger.start(accumulated(spec, batch * accumulation, 1))
    start = weights(packing, "a")
    for _ in range(6):
        packing.step("abcd")
        larger.step("abcd")
        for letter in whole:
            found, wanted = (each.trials[letter].progress for each in (packing, larger))
            assert (found.steps, found.samples, found.tokens) == (wanted.steps, wanted.samples, wanted.tokens)
            assert found.loss_sum == pytest.approx(wanted.loss_sum, rel=1e-6)
            assert found.gradient_norm == pytest.approx(wanted.gradient_norm, rel=1e-5)
            assert furthest(weights(packing, letter), weights(larger, letter)) < 1e-6
    assert furthest(weights(packing, "a"), start) > 0.002
    assert packing.trials["d"].progress.steps == 6  # all rows in each step
    assert packing.trials["d"].progress.samples == 240


def test_accumulating_in_a_pack_equals_solo_with_dropout(toy_bases: dict[str, Path]) -> None:
    packing = make_packing(toy_bases["bert"])
    specs = [
        accumulated(spec, batch, times)
        for spec, (batch, times) in zip(company(), [(3, 4), (7, 2), (5, 1), (4, 99)], strict=True)
    ]
    for spec in specs:
        packing.start(spec)
    train(packing, "abcd", 12)
    for spec in specs:
        assert furthest(weights(packing, spec.trial_id), solo(toy_bases["bert"], spec, 12)) < 1e-5


def test_micro_batches_of_a_step_have_masks_of_their_own(toy_bases: dict[str, Path]) -> None:
    packing = make_packing(toy_bases["bert"])
    packing.start(make_spec(seed=6, batch_size=4, accumulation=3, dropout=0.5))
    real, seen = packing.task.losses, []

    def losses(pack: Pack, rows: Sequence[Sequence[int]]) -> torch.Tensor:
        seen.append((pack.members[0].seed, pack.members[0].step))
        return real(pack, rows)

    packing.task.losses = losses  # type: ignore[method-assign]
    train(packing, ["a"], 2)
    assert len(set(seen)) == 6
    assert [seen[0], seen[3]] == [(6, 0), (6, 1)]  # those of a step that has no other


def test_who_joins_late_or_beside_one_who_leaves_equals_solo(toy_bases: dict[str, Path]) -> None:
    base = toy_bases["bert"]
    packing = make_packing(base, max_pack=3)
    first, second, third, fourth = company()
    packing.start(second)
    train(packing, "b", 10)
    packing.start(first)
    packing.start(third)
    train(packing, "bac", 15)
    packing.stop("b")
    packing.start(fourth)  # in the slot that was freed
    train(packing, "cda", 25)
    found = {spec.trial_id: weights(packing, spec.trial_id) for spec in (first, third, fourth)}
    assert furthest(found["a"], solo(base, first, 40)) < 1e-5
    assert furthest(found["c"], solo(base, third, 40)) < 1e-5
    assert furthest(found["d"], solo(base, fourth, 25)) < 1e-5


def test_evaluation_in_a_pack_equals_evaluation_alone(
    toy_bases: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tuner.tasks.sentiment.task.EVAL_TOKENS", 50)  # many chunks, other ones in a pack than alone
    packing = make_packing(toy_bases["bert"])
    specs = company()
    for spec in specs:
        packing.start(spec)
    train(packing, "abcd", 10)
    together = {report.trial_id: report.metrics for report in packing.report("abcd")}
    monkeypatch.setattr("tuner.tasks.sentiment.task.EVAL_TOKENS", 10**6)
    for spec in specs:
        alone = packing.report([spec.trial_id])[0].metrics
        for name in ("accuracy", "macro_f1", "validation_loss", "preservation", "score", "adapter_mb", "efficiency"):
            assert together[spec.trial_id][name] == pytest.approx(alone[name], abs=1e-5), name


def test_the_best_adapter_is_evaluated_with_its_own_scale(toy_bases: dict[str, Path]) -> None:
    """Whatever stands beside it in the engine: alpha / rank is the trial's own."""
    packing = make_packing(toy_bases["bert"])
    packing.start(make_spec("other", rank=1, alpha=64))
    packing.start(make_spec("mine", seed=2, rank=4, alpha=2, learning_rate=0.03))
    for _ in range(5):
        packing.step(["mine"])
    report = packing.report(["mine"])[0]
    found = packing.evaluate("mine", "validation")
    assert report.metrics["score"] == packing.trials["mine"].progress.best_score
    for name in ("validation_loss", "accuracy", "preservation", "score"):
        assert found[name] == pytest.approx(report.metrics[name], abs=1e-6), name
    assert packing.evaluate("mine", "test")["test_loss"] != pytest.approx(found["validation_loss"], abs=1e-6)
    assert packing.store.shapes[packing.max_pack] is None  # the spare slot is free again


def test_the_best_is_kept_when_later_reports_are_worse(toy_bases: dict[str, Path]) -> None:
    packing = make_packing(toy_bases["bert"])
    packing.start(make_spec(learning_rate=0.02, epochs=30))
    scores = []
    kept: dict[str, torch.Tensor] = {}
    for _ in range(40):
        for report in packing.advance(["a"]):
            if report.metrics["score"] > max(scores, default=0):
                kept = packing.store.tensors(0, "average")
            scores.append(report.metrics["score"])
    assert scores[-1] < max(scores)
    assert furthest(packing.adapter("a", "best")[0], kept) == 0
    assert furthest(packing.adapter("a", "last")[0], packing.store.tensors(0, "average")) == 0
    assert furthest(kept, packing.store.tensors(0, "average")) > 0
    assert packing.evaluate("a", "validation")["score"] == pytest.approx(max(scores), abs=1e-6)


@pytest.mark.parametrize(("batch", "accumulation"), [(7, 1), (3, 2)])
def test_a_stopped_trial_goes_on_elsewhere_as_if_it_had_not(
    toy_bases: dict[str, Path], batch: int, accumulation: int
) -> None:
    spec = accumulated(make_spec(dropout=0.2, schedule="cosine", warmup_ratio=0.1, epochs=4), batch, accumulation)
    going = make_packing(toy_bases["bert"])
    going.start(spec)
    reports = []
    checkpoints = []
    while not reports or not reports[-1].done:
        for report in going.advance(["a"]):
            reports.append(report)
            checkpoints.append(going.checkpoint("a"))
    resumed = make_packing(toy_bases["bert"])
    resumed.start(spec, checkpoints[2])
    again = []
    while not again or not again[-1].done:
        again += resumed.advance(["a"])
    clocks = {"train_seconds", "tokens_per_second", "samples_per_second"} | MEASURED
    for one, other in zip(reports[3:], again, strict=True):
        assert (one.index, one.samples, one.done) == (other.index, other.samples, other.done)
        assert {k: v for k, v in one.metrics.items() if k not in clocks} == {
            k: v for k, v in other.metrics.items() if k not in clocks
        }
    for kind in ("weights", "average", "first", "second"):
        assert furthest(going.store.tensors(0, kind), resumed.store.tensors(0, kind)) == 0
    assert furthest(going.adapter("a", "best")[0], resumed.adapter("a", "best")[0]) == 0


def test_an_adapter_is_judged_and_kept_by_its_average(toy_bases: dict[str, Path]) -> None:
    packing = make_packing(toy_bases["bert"])
    packing.start(make_spec(learning_rate=0.05, epochs=1, batch_size=4))
    report = packing.advance(["a"])
    while not report:
        report = packing.advance(["a"])
    weights, average = (packing.store.tensors(0, kind) for kind in ("weights", "average"))
    assert furthest(weights, average) > 0.01
    assert furthest(packing.adapter("a", "last")[0], average) == 0
    assert furthest(packing.adapter("a", "best")[0], average) == 0
    packing.store.weights.zero_()  # no part of any answer
    assert packing.report(["a"])[0].metrics["validation_loss"] == report[0].metrics["validation_loss"]


def test_a_finished_trial_trains_no_more(toy_bases: dict[str, Path]) -> None:
    """As when a study died between a trial's last checkpoint and its last line in the record."""
    packing = make_packing(toy_bases["bert"])
    packing.start(make_spec(epochs=1, batch_size=40))
    (last,) = packing.advance(["a"])
    assert last.done
    before = weights(packing, "a")
    resumed = make_packing(toy_bases["bert"])
    resumed.start(make_spec(epochs=1, batch_size=40), packing.checkpoint("a"))
    (again,) = resumed.advance(["a"])
    assert (again.done, again.samples, again.status) == (True, last.samples, "ok")
    assert again.metrics["score"] == last.metrics["score"]
    assert again.metrics["loss"] == last.metrics["loss"]
    assert furthest(weights(resumed, "a"), before) == 0
    assert resumed.samples_left() == 0


@pytest.mark.parametrize(
    ("batch", "reports", "samples"), [(64, 4, [40, 80]), (16, 2, [32, 40, 72, 80]), (40, 1, [40, 80]), (8, 1, [40, 80])]
)
def test_reports_and_epochs(toy_bases: dict[str, Path], batch: int, reports: int, samples: list[int]) -> None:
    packing = make_packing(toy_bases["bert"], search__reports_per_epoch=reports)
    packing.start(make_spec(batch_size=batch))
    found = []
    while not found or not found[-1].done:
        found += packing.advance(["a"])
    assert [report.samples for report in found] == samples
    assert [report.index for report in found] == list(range(len(samples)))
    assert found[-1].metrics["epoch"] == 2
    assert found[-1].metrics["step"] == 2 * -(-40 // batch)
    costs = packing.task.row_costs()
    assert found[-1].metrics["tokens_seen"] == 2 * sum(costs)


def until_done(packing: Packing) -> list[Report]:
    """The reports of the only trial, to its last."""
    found: list[Report] = []
    while not found or not found[-1].done:
        found += packing.advance(["a"])
    return found


def with_qualities(packing: Packing, qualities: Sequence[float]) -> Packing:
    """Judged so at its reports, one after another."""
    real, left = packing.task.evaluate, iter(qualities)

    def evaluate(pack: Pack, split: str) -> list[dict[str, float]]:
        (found,) = real(pack, split)
        return [{**found, packing.spec.quality: next(left)}]

    packing.task.evaluate = evaluate  # type: ignore[method-assign]
    return packing


@pytest.mark.parametrize(
    ("qualities", "patience", "ends", "early"),
    [
        ([0.5, 0.5, 0.5, 0.5, 0.5, 0.5], 2, 2, True),
        ([0.5, 0.6, 0.55, 0.6, 0.7, 0.6], 3, 5, False),  # never three in a row
        ([0.5, 0.6, 0.55, 0.6, 0.7, 0.6], 2, 3, True),
        ([0.9, 0.8, 0.7, 0.6, 0.5, 0.4], 1, 1, True),
        ([0.5, 0.6, 0.7, 0.8, 0.8, 0.8], 2, 5, False),  # at the last row patience has nothing left to stop
    ],
)
def test_a_trial_ends_when_its_quality_does_not_improve(
    toy_bases: dict[str, Path], qualities: list[float], patience: int, ends: int, early: bool
) -> None:
    packing = with_qualities(make_packing(toy_bases["bert"], search__patience=patience), qualities)
    packing.start(make_spec(epochs=3))
    reports = until_done(packing)
    assert reports[-1].index == ends
    assert {report.status for report in reports} == {"ok"}
    assert [report.metrics.get("stopped_early") for report in reports] == [None] * ends + [1.0 if early else None]
    assert packing.samples_left() == 0


def test_where_less_is_better_a_rise_is_no_improvement(toy_bases: dict[str, Path]) -> None:
    falling = [0.9, 0.8, 0.7, 0.75, 0.8, 0.9]
    packing = with_qualities(make_packing(toy_bases["bert"], search__patience=2), falling)
    packing.bands["quality"] = BandConfig(excellent=0.1, good=0.5, average=0.8, higher_is_better=False)
    packing.start(make_spec(epochs=3))
    assert until_done(packing)[-1].index == 4


def test_patience_changes_nothing_before_it_ends_a_trial(toy_bases: dict[str, Path]) -> None:
    spec = make_spec(epochs=4, dropout=0.1, learning_rate=1e-6)  # too slow to change an answer
    patient, going = make_packing(toy_bases["bert"], search__patience=3), make_packing(toy_bases["bert"])
    for packing in (patient, going):
        packing.start(spec)
    checkpoints, reports = [], []
    while not reports or not reports[-1].done:
        for report in patient.advance(["a"]):
            reports.append(report)
            checkpoints.append(patient.checkpoint("a"))
    assert [report.index for report in reports] == [0, 1, 2, 3]
    without: list[Report] = []
    while len(without) < 4:
        without += going.advance(["a"])
    assert not without[-1].done
    for kind in ("weights", "average", "first", "second"):
        assert furthest(patient.store.tensors(0, kind), going.store.tensors(0, kind)) == 0
    # the count goes through checkpoints, that of the last report included: it is given again, and nothing is trained
    for number, left in ((1, [2, 3]), (3, [4])):
        resumed = make_packing(toy_bases["bert"], search__patience=3)
        resumed.start(spec, checkpoints[number])
        again = until_done(resumed)
        assert [report.index for report in again] == left
        assert again[-1].metrics["stopped_early"] == 1.0
        assert again[-1].samples == reports[-1].samples
        assert furthest(weights(resumed, "a"), weights(patient, "a")) == 0


def test_a_checkpoint_without_the_count_begins_it(toy_bases: dict[str, Path]) -> None:
    packing = make_packing(toy_bases["bert"], search__patience=2)
    packing.start(make_spec(epochs=4, learning_rate=1e-6))
    while not packing.advance(["a"]):
        pass
    groups, state = unpack_checkpoint(packing.checkpoint("a"))
    for name in ("best_quality", "stale"):
        del state["progress"][name]
    packing.start(make_spec(epochs=4, learning_rate=1e-6), pack_checkpoint(groups, state))
    assert [report.index for report in until_done(packing)] == [1, 2, 3]


def test_learning_happens(toy_bases: dict[str, Path]) -> None:
    packing = make_packing(toy_bases["bert"], make_splits(train=64))
    packing.start(make_spec(learning_rate=3e-3, alpha=4, epochs=16, target_modules=toy.EVERYWHERE["bert"]))
    reports = []
    while not reports or not reports[-1].done:
        reports += packing.advance(["a"])
    assert reports[-1].metrics["loss"] < 0.5 * reports[0].metrics["loss"]
    assert reports[-1].metrics["preservation"] < reports[0].metrics["preservation"]


def by_seconds(packing: Packing) -> Packing:
    """With a clock that is a second later whenever it is looked at: each measurement covers one second."""
    packing.usage = Usage(packing.device, clock=count().__next__)
    return packing


def test_reports_tell_what_the_engine_uses_and_gets_done(toy_bases: dict[str, Path]) -> None:
    packing = by_seconds(make_packing(toy_bases["bert"]))
    packing.start(make_spec("a", batch_size=8))
    packing.start(make_spec("b", batch_size=20, seed=2))
    packing.start(make_spec("c", batch_size=40, epochs=9, seed=3))
    everyone = packing.trials.values()
    rows = tokens = 0
    for _ in range(3):
        reports = []
        while not reports:
            reports = packing.advance("abc")
        found = [{name: report.metrics[name] for name in MEASURED} for report in reports]
        assert all(each == found[0] for each in found)  # one measurement for all who report together
        assert all(type(value) is float and math.isfinite(value) for value in found[0].values())
        assert found[0]["engine_samples_per_second"] == sum(trial.progress.samples for trial in everyone) - rows
        assert found[0]["engine_tokens_per_second"] == sum(trial.progress.tokens for trial in everyone) - tokens
        assert found[0]["memory_mb"] > 50
        assert "device_memory_mb" not in reports[0].metrics  # on a CPU it would say the same again
        rows, tokens = (sum(getattr(trial.progress, name) for trial in everyone) for name in ("samples", "tokens"))
    assert rows


def test_rows_that_taught_nothing_are_not_counted(toy_bases: dict[str, Path]) -> None:
    packing = by_seconds(make_packing(toy_bases["bert"]))
    packing.start(make_spec("a", batch_size=40))
    packing.start(make_spec("b", batch_size=40, seed=2))
    packing.store.weights[packing.trials["b"].slot] = torch.nan
    reports = {report.trial_id: report for report in packing.advance("ab")}
    assert reports["b"].status == "nan"
    assert reports["a"].status == "ok"
    assert reports["a"].metrics["engine_samples_per_second"] == 40


def _edited(checkpoint: bytes, change: str) -> bytes:
    groups, state = unpack_checkpoint(checkpoint)
    if change == "a counter is missing":
        del state["progress"]
    elif change == "a counter is unknown":
        state["progress"]["nonsense"] = 1
    elif change == "a tensor is missing":
        groups["second"].popitem()
    elif change == "moments are missing":
        del groups["first"]
    return pack_checkpoint(groups, state)


@pytest.mark.parametrize(
    "change",
    ["a counter is missing", "a counter is unknown", "a tensor is missing", "moments are missing", "rank", "bytes"],
)
def test_a_bad_checkpoint_is_refused_and_takes_no_slot(toy_bases: dict[str, Path], change: str) -> None:
    packing = make_packing(toy_bases["bert"], max_pack=2)
    packing.start(make_spec())
    train(packing, ["a"], 3)
    good = packing.checkpoint("a")
    bad = good[:-5] if change == "bytes" else _edited(good, change)
    before = weights(packing, "a")
    with pytest.raises(StoreError):
        packing.start(make_spec("b", rank=8 if change == "rank" else 4), bad)
    assert packing.trials.keys() == {"a"}
    assert packing.store.shapes.count(None) == 2
    packing.start(make_spec("b"), good)
    assert furthest(weights(packing, "a"), before) == 0
    assert furthest(weights(packing, "b"), before) == 0


def test_a_full_engine_takes_no_more(toy_bases: dict[str, Path]) -> None:
    packing = make_packing(toy_bases["bert"], max_pack=1)
    packing.start(make_spec("a"))
    with pytest.raises(TrialError, match="full: it holds 1"):
        packing.start(make_spec("b"))
    packing.start(make_spec("a", seed=9))  # the same trial again starts anew
    packing.stop("a")
    packing.stop("nobody")
    packing.start(make_spec("b"))
    with pytest.raises(TrialError, match="does not hold trial a"):
        packing.checkpoint("a")
