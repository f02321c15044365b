"""One member's misfortune is its own: NaN, out of memory, an error in its rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.engine.toy import furthest, make_packing, make_spec, weights
from tuner.engine.contract import Report
from tuner.engine.packing import Packing
from tuner.errors import TrialError
from tuner.lora.optim import average_step
from tuner.lora.packed import Pack


class Wrapped:
    """A task that looks at every pack before it computes. `seen` has the number of members of each call."""

    def __init__(self, task: Any, before: Callable[[str, Pack, Sequence[Sequence[int]]], None]) -> None:
        self._task = task
        self._before = before
        self.seen: list[tuple[str, int]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._task, name)

    def losses(self, pack: Pack, rows: Sequence[Sequence[int]]) -> torch.Tensor:
        self.seen.append(("losses", len(pack.members)))
        self._before("losses", pack, rows)
        found: torch.Tensor = self._task.losses(pack, rows)
        return found

    def evaluate(self, pack: Pack, split: str) -> list[dict[str, float]]:
        self.seen.append(("evaluate", len(pack.members)))
        self._before("evaluate", pack, [])
        found: list[dict[str, float]] = self._task.evaluate(pack, split)
        return found


def wrapped(
    base: Path, before: Callable[[str, Pack, Sequence[Sequence[int]]], None], members: str
) -> tuple[Packing, Wrapped]:
    """A packing on a wrapped task that holds these trials, seeded by their letters."""
    packing = make_packing(base)
    task = packing.task = Wrapped(packing.task, before)
    for letter in members:
        packing.start(make_spec(letter, seed=ord(letter), dropout=0.1))
    return packing, task


def finish(packing: Packing, ids: str) -> dict[str, Report]:
    """Advance these trials, packed, until all are done; the last report of each."""
    last: dict[str, Report] = {}
    while left := [letter for letter in ids if letter not in last or not last[letter].done]:
        last.update((report.trial_id, report) for report in packing.advance(left))
    return last


def alone(base: Path, letter: str) -> dict[str, torch.Tensor]:
    packing, _ = wrapped(base, lambda *_: None, letter)
    finish(packing, letter)
    return weights(packing, letter)


@pytest.mark.parametrize("fault", ["weights", "learning rate"])
def test_nan_leaves_the_bits_of_the_others(toy_bases: dict[str, Path], fault: str) -> None:
    def run(spoil: bool, leaves_at: int | None) -> tuple[Packing, int]:
        packing = make_packing(toy_bases["bert"])
        rate = 1e30 if spoil and fault == "learning rate" else 1e-3
        for letter in "abcd":
            one = {"learning_rate": rate} if letter == "b" else {}
            packing.start(make_spec(letter, seed=ord(letter), dropout=0.1, rank=ord(letter) - 96, epochs=20, **one))
        failed = -1
        for step in range(12):
            if spoil and fault == "weights" and step == 4:
                packing.store.weights[packing.trials["b"].slot, 7] = torch.nan
            arrived = packing.step("acd" if leaves_at is not None and step > leaves_at else "abcd")
            if failed < 0 and packing.trials["b"].failure:
                failed = step
                assert "b" in arrived
        return packing, failed

    spoilt, failed = run(spoil=True, leaves_at=None)
    assert failed == 4 if fault == "weights" else failed >= 1
    # the same company: a sound "b" takes part as long as the spoilt one did
    clean, _ = run(spoil=False, leaves_at=failed)
    for letter in "acd":
        for kind in ("weights", "first", "second"):
            slot = clean.trials[letter].slot
            assert furthest(spoilt.store.tensors(slot, kind), clean.store.tensors(slot, kind)) == 0
    reports = {report.trial_id: report for report in spoilt.report("abcd")}
    assert (reports["b"].status, reports["b"].done) == ("nan", True)
    assert "learning rate" in reports["b"].message
    assert all(reports[letter].status == "ok" and reports[letter].metrics["score"] > 0 for letter in "acd")
    # the evaluation beside NaN is that of a sound pack too
    expected = {report.trial_id: report.metrics["score"] for report in clean.report("acd")}
    assert {letter: reports[letter].metrics["score"] for letter in "acd"} == expected


def test_weights_that_turn_nan_at_the_last_step_are_found_by_the_report(toy_bases: dict[str, Path]) -> None:
    packing = make_packing(toy_bases["bert"])
    for letter in "ab":
        packing.start(make_spec(letter, seed=ord(letter)))
    clean = packing.report(["a", "b"])
    slot = packing.trials["b"].slot
    packing.store.weights[slot] = torch.nan
    average_step(packing.store, slot, 1)
    spoilt = packing.report(["a", "b"])
    assert spoilt[0].metrics["validation_loss"] == clean[0].metrics["validation_loss"]
    assert (spoilt[0].status, spoilt[1].status, spoilt[1].done) == ("ok", "nan", True)
    assert packing.trials["b"].best  # that of the first report
    assert not any(value.isnan().any() for value in packing.adapter("b", "best")[0].values())


@pytest.mark.parametrize("where", ["losses", "evaluate"])
@pytest.mark.parametrize("fits", [1, 2, 3])
def test_out_of_memory_in_a_pack_halves_it(toy_bases: dict[str, Path], where: str, fits: int) -> None:
    def before(what: str, pack: Pack, rows: Sequence[Sequence[int]]) -> None:
        if what == where and len(pack.members) > fits:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    packing, task = wrapped(toy_bases["bert"], before, "abcdefg")
    last = finish(packing, "abcdefg")
    assert {report.status for report in last.values()} == {"ok"}
    assert all(report.samples == 80 for report in last.values())
    assert 1 <= packing.limit <= fits
    # halved for good: after the first time nothing is tried that does not fit
    assert sum(count > fits for what, count in task.seen if what == where) <= 3
    for letter in "ag":
        assert furthest(weights(packing, letter), alone(toy_bases["bert"], letter)) < 1e-5


@pytest.mark.parametrize("fails_at", [2, 3])
def test_a_step_that_fails_half_way_leaves_no_gradient_behind(toy_bases: dict[str, Path], fails_at: int) -> None:
    """In the `fails_at`-th of three micro-batches, once: the whole step is tried again in halves."""

    def run(fault: bool) -> tuple[Packing, Wrapped]:
        def before(what: str, pack: Pack, rows: Sequence[Sequence[int]]) -> None:
            if fault and len(task.seen) == fails_at:
                raise torch.OutOfMemoryError

        packing, task = wrapped(toy_bases["bert"], before, "")
        for letter, passes in {"a": 3, "b": 2, "c": 3}.items():
            packing.start(make_spec(letter, seed=ord(letter), dropout=0.1, batch_size=4, accumulation=passes))
        for _ in range(3):
            packing.step("abc")
        return packing, task

    packing, task = run(fault=True)
    assert [count for _, count in task.seen[: fails_at + 3]][-3:] == [1, 1, 1]  # "a" alone, from its first again
    expected, _ = run(fault=False)
    for letter in "abc":
        found, wanted = (each.trials[letter].progress for each in (packing, expected))
        assert (found.steps, found.samples, found.tokens) == (3, wanted.samples, wanted.tokens)
        assert found.gradient_norm == pytest.approx(wanted.gradient_norm, abs=1e-6)
        assert found.loss_sum == pytest.approx(wanted.loss_sum, abs=1e-5)
        assert furthest(weights(packing, letter), weights(expected, letter)) < 1e-5


def test_nan_in_a_micro_batch_leaves_the_bits_of_the_others(toy_bases: dict[str, Path]) -> None:
    def run(fault: bool) -> Packing:
        packing = make_packing(toy_bases["bert"])
        for letter, passes in {"a": 3, "b": 2, "c": 1}.items():
            packing.start(make_spec(letter, seed=ord(letter), dropout=0.1, batch_size=4, accumulation=passes))
        real, calls = packing.task.losses, []

        def losses(pack: Pack, rows: Sequence[Sequence[int]]) -> torch.Tensor:
            calls.append(len(rows))
            found = real(pack, rows)
            if fault and calls == [3, 2]:  # the second micro-batch of "a" and "b"
                found = found * torch.tensor([1.0] * len(rows[0]) + [torch.nan] * len(rows[1]))
            return found

        packing.task.losses = losses  # type: ignore[method-assign]
        packing.step("abc")
        return packing

    spoilt, clean = run(fault=True), run(fault=False)
    assert spoilt.trials["b"].failure is not None
    assert spoilt.trials["b"].progress.steps == 0
    for letter in "ac":
        assert furthest(weights(spoilt, letter), weights(clean, letter)) == 0


def test_every_member_takes_a_step_in_the_turn_in_which_memory_runs_out(toy_bases: dict[str, Path]) -> None:
    def before(what: str, pack: Pack, rows: Sequence[Sequence[int]]) -> None:
        if len(pack.members) > 2:
            raise torch.OutOfMemoryError

    packing, _ = wrapped(toy_bases["bert"], before, "abcdefg")
    packing.limit = 4
    packing.step("abcdefg")
    assert [packing.trials[letter].progress.steps for letter in "abcdefg"] == [1] * 7


@pytest.mark.parametrize("where", ["losses", "evaluate"])
@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), "out_of_memory", "even alone"),
        (MemoryError(), "out_of_memory", "even alone"),
        (RuntimeError("shapes differ\nin detail"), "failed", "RuntimeError: shapes differ"),
        (IndexError("index out of range in self"), "failed", "IndexError: index out of range"),
        (KeyError("token"), "failed", "KeyError"),
    ],
)
def test_an_error_of_one_member_fails_it_alone(
    toy_bases: dict[str, Path], where: str, error: Exception, status: str, message: str
) -> None:
    def before(what: str, pack: Pack, rows: Sequence[Sequence[int]]) -> None:
        if what == where and any(member.slot == 2 for member in pack.members):
            raise error

    packing, _ = wrapped(toy_bases["bert"], before, "abcde")
    last = finish(packing, "abcde")
    assert {letter: report.status for letter, report in last.items()} == {
        letter: status if letter == "c" else "ok" for letter in "abcde"
    }
    assert message in last["c"].message
    assert "\n" not in last["c"].message
    assert packing.samples_left() == 0
    assert packing.limit == packing.max_pack  # the others still fit together
    assert furthest(weights(packing, "e"), alone(toy_bases["bert"], "e")) < 1e-5


def test_rows_that_break_the_model_fail_their_trial(toy_bases: dict[str, Path]) -> None:
    """A token id that the base does not have: torch raises IndexError on a CPU."""
    packing, _ = wrapped(toy_bases["bert"], lambda *_: None, "ab")
    order = packing.trials["b"].plan.next_rows(0)
    other = packing.trials["a"].plan.next_rows(0)
    row = next(row for row in order if row not in other)
    packing.task.rows["train"][row] = [2, 10_000, 3]  # type: ignore[attr-defined]
    packing.step(["a", "b"])
    assert packing.trials["a"].failure is None
    assert packing.trials["b"].failure is not None
    assert packing.trials["b"].failure[0] == "failed"


def test_a_metric_outside_its_range_fails_its_trial(toy_bases: dict[str, Path]) -> None:
    packing = make_packing(toy_bases["bert"])
    real = packing.task.evaluate

    def percent(pack: Pack, split: str) -> list[dict[str, float]]:
        found = real(pack, split)
        for member, metrics in zip(pack.members, found, strict=True):
            if member.slot == 1:
                metrics["accuracy"] = 85.0
        return found

    packing.task.evaluate = percent  # type: ignore[method-assign]
    for letter in "ab":
        packing.start(make_spec(letter))
    good, bad = packing.report(["a", "b"])
    assert good.status == "ok"
    assert (bad.status, bad.done) == ("failed", True)
    assert "quality" in bad.message


def test_evaluating_what_cannot_be_evaluated_is_a_trial_error(toy_bases: dict[str, Path]) -> None:
    def before(what: str, pack: Pack, rows: Sequence[Sequence[int]]) -> None:
        raise torch.OutOfMemoryError

    packing, _ = wrapped(toy_bases["bert"], before, "a")
    with pytest.raises(TrialError, match="even alone") as caught:
        packing.evaluate("a", "test")
    assert caught.value.kind == "out_of_memory"
    assert packing.store.shapes[packing.max_pack] is None
