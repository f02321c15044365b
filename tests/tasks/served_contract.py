"""What every `ServedBase` keeps to, as one set of tests.

A base's test module makes a class `Test...` of `ServedContract` and a fixture `case` of module scope that gives a
`Case`; a base with several layouts parametrises the fixture. Answers are compared with those of the job alone.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file

from tuner.errors import BaseModelError, StoreError
from tuner.lora.table import Resident
from tuner.tasks.served import Job, ServedBase

NEAR = 1e-5
STEPS = 10_000  # more than any job here takes
SPOILT = {
    "no details": "",
    "details cut": '{"base_model": "b',
    "details of another kind": "[]",
    "endless details": "[" * 100_000,
    "no name of a base": '{"base_model": []}',
}
"""What may stand in an adapter's tuner.json after an accident."""


@dataclass
class Case:
    """One base, to be held to the contract in fp32 on the CPU.

    `make` gives a base with nothing resident, `folders` are adapters of it (two at least, by name), `asks` small
    requests that differ, `distance` says how far two answers are from one another (math.inf where they are of different
    kinds), and `foreign` are folders that are no adapters of this base: of another base, of another task.
    """

    make: Callable[[], ServedBase]
    folders: Mapping[str, Path]
    asks: Sequence[Any]
    distance: Callable[[Any, Any], float]
    foreign: Mapping[str, Path]
    served: ServedBase = field(init=False)
    residents: dict[str, Resident] = field(init=False)
    known: dict[tuple[str, int], Any] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.served = self.make()
        self.residents = {
            name: self.served.table.put(name, self.served.open(folder)) for name, folder in self.folders.items()
        }
        if self.served.alone:
            self.residents[""] = self.served.table.take_base()

    def alone(self, adapter: str, ask: int) -> Any:
        """What an adapter answers to an ask with nobody beside it, computed once."""
        if (adapter, ask) not in self.known:
            under = Under(self.residents[adapter], self.asks[ask])
            self.served.admit([under.job])
            finish(self.served)
            self.known[adapter, ask] = under.end
        return self.known[adapter, ask]

    def check(self, under: Under, adapter: str, ask: int) -> None:
        """That a job has ended as it does alone."""
        assert self.distance(under.end, self.alone(adapter, ask)) <= NEAR

    def check_works(self) -> None:
        """That every adapter answers all as ever, with the others beside it."""
        orders = [(name, ask) for ask in range(len(self.asks)) for name in self.residents]
        for order in orders:
            self.alone(*order)
        unders = [Under(self.residents[name], self.asks[ask]) for name, ask in orders]
        self.served.admit([under.job for under in unders])
        finish(self.served)
        for under, order in zip(unders, orders, strict=True):
            self.check(under, *order)


class Under:
    """A job and what it came to."""

    def __init__(self, adapter: Resident, ask: Any) -> None:
        self.ends: list[Any] = []
        self.pieces: list[Any] = []
        self.job = Job(ask, adapter, self.ends.append, self._piece)

    def _piece(self, piece: Any) -> None:
        assert not self.ends, "a piece came after the end"
        self.pieces.append(piece)

    @property
    def end(self) -> Any:
        """What it ended with, once."""
        (end,) = self.ends
        return end


def finish(served: ServedBase) -> None:
    """Step until nothing is under way."""
    for _ in range(STEPS):
        if not served.busy:
            return
        served.step()
    raise AssertionError("jobs do not end")


class ServedContract:
    """The tests."""

    def test_adapters_answer_differently(self, case: Case) -> None:
        """Else the tests below would prove nothing."""
        for ask in range(len(case.asks)):
            answers = [case.alone(name, ask) for name in case.folders]
            assert not any(isinstance(answer, Exception) or answer is None for answer in answers)
        assert any(
            case.distance(case.alone(one, ask), case.alone(other, ask)) > NEAR
            for ask in range(len(case.asks))
            for one in case.residents
            for other in case.residents
        )

    @settings(deadline=None, max_examples=12, suppress_health_check=[HealthCheck.differing_executors])
    @given(data=st.data())
    def test_company_changes_nothing(self, case: Case, data: st.DataObject) -> None:
        served = case.served
        names = st.sampled_from(sorted(case.residents))
        orders = data.draw(st.lists(st.tuples(names, st.integers(0, len(case.asks) - 1)), min_size=1, max_size=12))
        for order in orders:
            case.alone(*order)
        joins = data.draw(st.lists(st.integers(0, 3), min_size=len(orders), max_size=len(orders)))
        leaves = data.draw(st.lists(st.integers(0, 4) | st.none(), min_size=len(orders), max_size=len(orders)))
        unders = [Under(case.residents[name], case.asks[ask]) for name, ask in orders]
        assert not served.busy
        for turn in range(STEPS):
            coming = [under for under, join in zip(unders, joins, strict=True) if join == turn]
            if coming:
                served.admit([under.job for under in coming])
            admitted = [under for under, join in zip(unders, joins, strict=True) if join <= turn]
            assert served.busy == any(not under.ends for under in admitted)
            left = [
                under
                for under, join, leave in zip(unders, joins, leaves, strict=True)
                if leave is not None and join + leave == turn
            ]
            ended = [bool(under.ends) for under in left]
            for under in left:
                under.job.cancelled = True
            rows = served.step()
            assert rows > 0 or not served.busy
            assert [under.end for under, over in zip(left, ended, strict=True) if not over] == [None] * ended.count(
                False
            )
            assert served.busy == any(not under.ends for under in admitted)
            if turn >= max(joins) and not served.busy:
                break
        assert served.step() == 0
        for under, order, leave in zip(unders, orders, leaves, strict=True):
            if leave is None or under.end is not None:
                case.check(under, *order)

    def test_jobs_that_are_cancelled_before_they_begin(self, case: Case) -> None:
        name = next(iter(case.residents))
        gone, stays = (Under(case.residents[name], case.asks[0]) for _ in range(2))
        gone.job.cancelled = True
        case.served.admit([gone.job, stays.job])
        finish(case.served)
        assert gone.end is None
        case.check(stays, name, 0)

    def test_abandoned_jobs_end_with_the_error(self, case: Case) -> None:
        unders = [Under(resident, ask) for resident in case.residents.values() for ask in case.asks]
        half = len(unders) // 2
        case.served.admit([under.job for under in unders[:half]])
        case.served.step()
        case.served.admit([under.job for under in unders[half:]])
        ended = [bool(under.ends) for under in unders]
        error = RuntimeError("the end")
        case.served.abandon(error)
        assert [under.end is error for under in unders] == [not over for over in ended]
        assert not case.served.busy
        case.served.abandon(error)
        assert case.served.step() == 0
        assert all(len(under.ends) == 1 for under in unders)
        case.check_works()

    @pytest.mark.parametrize("late", [False, True])
    def test_an_error_in_a_step_ends_all_and_the_base_works_on(self, case: Case, late: bool) -> None:
        first, second = list(case.folders)[:2]
        lost = Under(replace(case.residents[first], row=10**6), case.asks[0])  # no adapter that is in memory
        others = [Under(case.residents[second], ask) for ask in case.asks]
        groups = [others, [lost]] if late else [[others[0], lost, *others[1:]]]
        try:
            for group in groups:
                case.served.admit([under.job for under in group])
                case.served.step()
            finish(case.served)
        except Exception as error:
            case.served.abandon(error)
        assert not case.served.busy
        assert isinstance(lost.end, Exception)
        for ask, other in enumerate(others):
            if not isinstance(other.end, Exception):
                case.check(other, second, ask)
        case.check_works()

    def test_an_ask_of_the_wrong_kind_fails_alone(self, case: Case) -> None:
        name = next(iter(case.folders))
        odd, well = Under(case.residents[name], object()), Under(case.residents[name], case.asks[0])
        case.served.admit([odd.job, well.job])
        finish(case.served)
        assert isinstance(odd.end, Exception)
        case.check(well, name, 0)

    def test_numbers_that_are_not_finite_stay_where_they_are(self, case: Case) -> None:
        first, second = list(case.folders)[:2]
        broken = [
            Under(replace(case.residents[first], scale=math.nan), ask) for ask in (case.served.canary(), *case.asks)
        ]
        others = [Under(case.residents[second], ask) for ask in case.asks]
        case.served.admit([under.job for under in (*broken, *others)])
        finish(case.served)
        for under in broken:
            assert isinstance(under.end, Exception) or not case.served.sound(under.end)
        for ask, other in enumerate(others):
            case.check(other, second, ask)

    def test_every_adapter_answers_its_canary(self, case: Case) -> None:
        unders = [Under(resident, case.served.canary()) for resident in case.residents.values()]
        case.served.admit([under.job for under in unders])
        finish(case.served)
        for under in unders:
            assert not isinstance(under.end, Exception)
            assert case.served.sound(under.end)

    def test_facts(self, case: Case) -> None:
        facts = case.served.facts
        assert facts.name
        assert (facts.device, facts.precision) == ("cpu", "fp32")

    @pytest.mark.parametrize(
        "how",
        [
            "empty", "no weights", "cut", "no safetensors", "incomplete", "NaN", "inf", "small", "more", "elsewhere",
            *SPOILT,
        ],
    )  # fmt: skip
    def test_a_damaged_adapter_is_refused(self, case: Case, tmp_path: Path, how: str) -> None:
        folder = tmp_path / "adapter"
        shutil.copytree(next(iter(case.folders.values())), folder)
        damage(folder, how)
        self._refused(case, folder)

    def test_what_is_no_adapter_of_this_base_is_refused(self, case: Case) -> None:
        assert case.foreign
        for folder in case.foreign.values():
            self._refused(case, folder)

    def _refused(self, case: Case, folder: Path) -> None:
        """Whether by `open` or when it is to become resident: before anybody is answered."""
        table = case.served.table
        before = table.keys()
        with pytest.raises((StoreError, BaseModelError)) as caught:
            table.put("refused", case.served.open(folder))
        assert "\n" not in str(caught.value)
        assert table.keys() == before
        case.check_works()


def changed(folder: Path, target: Path, **details: Any) -> Path:
    """A copy of an adapter that says other things of itself."""
    shutil.copytree(folder, target)
    path = target / "tuner.json"
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **details}), encoding="utf-8")
    return target


def damage(folder: Path, how: str) -> None:
    """Spoil an adapter."""
    (weights,) = folder.glob("*.safetensors")
    if how in SPOILT:
        (folder / "tuner.json").write_text(SPOILT[how])
        return
    if how == "empty":
        for path in folder.iterdir():
            path.unlink()
        return
    if how == "no weights":
        weights.unlink()
        return
    if how == "cut":
        weights.write_bytes(weights.read_bytes()[:-7])
        return
    if how == "no safetensors":
        weights.write_bytes(b"\x80\x04 a pickle of long ago")
        return
    with safe_open(weights, framework="pt") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no mapping)
    name = sorted(tensors)[0]
    if how == "incomplete":
        del tensors[name]
    elif how in ("NaN", "inf"):
        tensors[name].view(-1)[-1] = float(how)
    elif how == "small":
        tensors[name] = tensors[name][:-1].clone()
    elif how == "more":
        tensors[f"{name}.more"] = torch.zeros(3)
    elif how == "elsewhere":
        tensors[name.replace(".", ".x.", 1)] = tensors.pop(name)
    save_file(tensors, weights, metadata)
