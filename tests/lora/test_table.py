"""The table of a server's adapters: what a pack of it computes, and who has to leave."""

from __future__ import annotations

import random
import sys
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tuner.errors import StoreError
from tuner.lora.packed import Pack, PackContext, wrap_linears
from tuner.lora.parameters import AdapterShape, Layout, Site
from tuner.lora.table import AdapterTable, Opened, Resident

CPU = torch.device("cpu")
LORA = ("one", "two")
INPUTS, HIDDEN, OUTPUTS = 6, 5, 3
ROW = 4 * (8 * (INPUTS + HIDDEN) + OUTPUTS * HIDDEN + OUTPUTS)  # bytes of rank 8 or less on "one", with its head


class World:
    """Two layers that carry LoRA and a head that is trained in full, with a table of their adapters."""

    def __init__(self, capacity: int = 10**9) -> None:
        torch.manual_seed(0)
        self.plain = nn.ModuleDict(
            {"one": nn.Linear(INPUTS, HIDDEN), "two": nn.Linear(HIDDEN, HIDDEN), "head": nn.Linear(HIDDEN, OUTPUTS)}
        )
        self.model = nn.ModuleDict(dict(self.plain))
        self.context = PackContext(CPU)
        self.sites = wrap_linears(self.model, LORA, ["head"], self.context)
        self.table = AdapterTable(self.sites, CPU, capacity)

    def answers(self, pack: Pack, x: Sequence[torch.Tensor]) -> tuple[torch.Tensor, ...]:
        """What each member makes of its rows (rows, in)."""
        counts = [len(each) for each in x]
        pack.bring(counts)
        self.context.pack = pack
        try:
            with torch.inference_mode():
                y = self.model["head"](torch.tanh(self.model["two"](torch.tanh(self.model["one"](torch.cat(list(x)))))))
        finally:
            self.context.pack = None
        return y.split(counts)

    def first_layer(self, pack: Pack | None, x: torch.Tensor) -> torch.Tensor:
        """What the first layer makes of rows (rows, in) in a pack, or by itself."""
        self.context.pack = pack
        try:
            with torch.inference_mode():
                y: torch.Tensor = self.model["one"](x)
        finally:
            self.context.pack = None
        return y

    def expected(self, opened: Opened, x: torch.Tensor) -> torch.Tensor:
        """What one adapter makes of rows, computed plainly."""
        for name in LORA:
            base: Any = self.plain[name]
            y = base(x)
            if f"{name}.A" in opened.tensors:
                y = y + x @ opened.tensors[f"{name}.A"].T @ opened.tensors[f"{name}.B"].T * opened.scale
            x = torch.tanh(y)
        found: torch.Tensor = x @ opened.tensors["head.weight"].T + opened.tensors["head.bias"]
        return found.detach()

    def check(self, residents: Mapping[Resident, Opened], pack: Pack | None = None) -> None:
        """That each answers as its file says, all of them at once."""
        generator = torch.Generator().manual_seed(1)
        x = [torch.randn(number % 3 + 1, INPUTS, generator=generator) for number in range(len(residents))]
        found = self.answers(pack or self.table.pack(list(residents), torch.float32), x)
        for own, rows, opened in zip(found, x, residents.values(), strict=True):
            torch.testing.assert_close(own, self.expected(opened, rows), rtol=0, atol=1e-5)


def make(rank: int = 4, targets: Sequence[str] = ("one",), seed: int = 0, scale: float = 0.5) -> Opened:
    """An adapter, a function of its arguments."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {
        "head.weight": torch.randn(OUTPUTS, HIDDEN, generator=generator),
        "head.bias": torch.randn(OUTPUTS, generator=generator),
    }
    for name in targets:
        inputs = INPUTS if name == "one" else HIDDEN
        tensors[f"{name}.A"] = torch.randn(rank, inputs, generator=generator)
        tensors[f"{name}.B"] = torch.randn(HIDDEN, rank, generator=generator)
    return Opened(AdapterShape(rank, frozenset(targets), frozenset({"head"})), scale, tensors, {"seed": seed})


def test_adapters_of_unequal_ranks_and_modules_answer_as_they_are() -> None:
    world = World()
    kinds = [make(4), make(1, ("two",), 1), make(17, LORA, 2, 2.0), make(3, (), 3), make(8, LORA, 4)]
    residents = {world.table.put(f"a{number}", opened): opened for number, opened in enumerate(kinds)}
    world.check(residents)
    world.check(dict(reversed(residents.items())))
    world.check(dict(list(residents.items())[1:4]))
    for resident, opened in residents.items():
        world.check({resident: opened})
        world.check({resident: opened}, world.table.pack_tight([resident], torch.float32))
    world.check(residents, world.table.pack_tight(list(residents), torch.float32))
    assert len({resident.row for resident in residents} | {0}) == 6


def test_the_base_beside_adapters_is_the_base() -> None:
    """But for a module that is trained in full, of which it has none."""
    world = World()
    resident = world.table.put("a", make(20, LORA))
    x = torch.randn(4, INPUTS)
    for pack in (world.table.pack, world.table.pack_tight):
        own = pack([world.table.take_base(), resident], torch.float32)
        own.bring([2, 2])
        bare, y = world.first_layer(None, x), world.first_layer(own, x)
        assert torch.equal(y[:2], bare[:2])
        assert not torch.equal(y[2:], bare[2:])


def test_the_base_is_always_there_and_never_counted() -> None:
    table = World(1).table
    base = table.take_base()
    table.release(base)
    assert (base.users, base.row, base.key) == (0, 0, "")
    assert table.keys() == []
    assert table.bytes_used == 0
    assert len(table) == 0
    assert len(table.pack([base], torch.float32).members) == 1


def test_an_adapter_without_tensors() -> None:
    """Found prompts are one."""
    world = World()
    nothing = Opened(AdapterShape(0, frozenset(), frozenset()), 0.0, {}, {})
    resident = world.table.put("prompts", nothing)
    assert world.table.bytes_used == 0
    other = world.table.put("other", make())
    pack = world.table.pack([resident, other], torch.float32)
    pack.bring([1, 1])
    x = torch.randn(2, INPUTS)
    assert torch.equal(world.first_layer(pack, x)[:1], world.first_layer(None, x)[:1])


def test_taking_and_dropping() -> None:
    table = World().table
    opened = make()
    first = table.put("a", opened)
    assert table.take("b") is None
    assert table.take("a") is first
    assert table.put("a", make(seed=5)) is first, "what a key means cannot change"
    assert first.users == 3
    assert first.details == {"seed": 0}
    assert not table.drop("a")
    for _ in range(3):
        assert not table.drop("a")
        table.release(first)
    assert table.drop("a")
    assert table.drop("a"), "there is nothing to forget"
    assert table.keys() == []
    again = table.put("a", opened)
    assert again is not first


def test_the_least_recently_used_one_leaves() -> None:
    world = World(3 * ROW)
    opened = {name: make(seed=number) for number, name in enumerate("abcdef")}
    residents = {name: world.table.put(name, opened[name]) for name in "abc"}
    for resident in residents.values():
        world.table.release(resident)
    assert world.table.take("a") is residents["a"]
    residents["d"] = world.table.put("d", opened["d"])
    assert sorted(world.table.keys()) == ["a", "c", "d"]
    assert world.table.bytes_used == 3 * ROW
    residents["e"] = world.table.put("e", opened["e"])
    assert sorted(world.table.keys()) == ["a", "d", "e"]
    world.check({residents[name]: opened[name] for name in "ade"})
    with pytest.raises(StoreError, match="3 adapters fill the 0 MB there are for them, and all are in use"):
        world.table.put("f", opened["f"])
    world.table.release(residents["a"])
    residents["f"] = world.table.put("f", opened["f"])
    world.check({residents[name]: opened[name] for name in "def"})


def test_there_is_room_for_one_however_large() -> None:
    world = World(1)
    for number, name in enumerate("ab"):
        opened = make(30, LORA, number)
        resident = world.table.put(name, opened)
        world.check({resident: opened})
        assert world.table.keys() == [name]
        with pytest.raises(StoreError, match="all are in use"):
            world.table.put("more", make())
        world.table.release(resident)


def memory(table: AdapterTable) -> int:
    return table._rows.average.numel() * 4


def test_memory_stays_within_the_capacity_when_the_layout_grows() -> None:
    """A larger rank makes every row larger, so that fewer have room; all but those in use may have to leave."""
    world = World(40 * ROW)
    small = {}
    for number in range(40):
        opened = make(seed=number)
        small[world.table.put(f"a{number}", opened)] = opened
    assert memory(world.table) <= 41 * ROW
    *idle, last = small
    for resident in idle:
        world.table.release(resident)
    large = make(64, LORA, 1)
    resident = world.table.put("large", large)
    size = world.table._rows.layout.size * 4
    assert memory(world.table) <= 40 * ROW + size, "that of the base is beside it"
    assert world.table.keys() == [*(f"a{number}" for number in range(41 - len(world.table), 40)), "large"]
    world.check({resident: large, last: small[last]})
    assert world.table.bytes_used == len(world.table) * size <= 40 * ROW


def test_a_layout_shrinks_where_memory_is_short() -> None:
    """One large adapter that has come and gone does not take the others' room for ever."""
    world = World(10 * ROW)
    large = world.table.put("large", make(40, LORA))
    world.table.release(large)
    opened = {f"a{number}": make(seed=number) for number in range(10)}
    residents = {}
    for name, each in opened.items():
        residents[name] = world.table.put(name, each)
        world.table.release(residents[name])
    assert world.table.keys() == list(opened)
    world.check({residents[name]: opened[name] for name in opened})


def test_who_cannot_come_leaves_all_as_it_is() -> None:
    world = World(3 * ROW)
    opened = {name: make(seed=number) for number, name in enumerate("abc")}
    residents = {name: world.table.put(name, each) for name, each in opened.items()}
    world.table.release(residents["a"])
    before = world.table._rows
    with pytest.raises(StoreError, match="all are in use"):
        world.table.put("large", make(64, LORA))
    assert world.table.keys() == ["a", "b", "c"]
    assert world.table._rows is before
    world.check({residents[name]: opened[name] for name in "abc"})


def test_a_pack_stays_as_it_was_while_others_come_and_go() -> None:
    """Also where it reads rows where they lie, as with the base in front: those of others are written beside them."""
    world = World(12 * ROW)
    opened = make(seed=7)
    resident = world.table.put("a", opened)
    pack = world.table.pack([world.table.take_base(), resident], torch.float32)
    assert pack.weights.data_ptr() == world.table._rows.average.data_ptr(), "it has no copy"
    before = pack.weights.clone()
    for number in range(20):
        other = world.table.put(f"b{number}", make(8 if number < 10 else 12, LORA if number % 3 else ("one",), number))
        world.table.release(other)
        if number % 2:
            world.table.drop(f"b{number}")
        assert torch.equal(pack.weights, before)
    world.check({resident: opened})


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_whatever_comes_and_goes(data: st.DataObject) -> None:
    capacity = data.draw(st.integers(1, 12)) * ROW
    world = World(capacity)
    taken: list[tuple[Resident, Opened]] = []
    ranks, targets = st.sampled_from([1, 4, 8, 9, 24]), st.sampled_from([(), ("one",), ("two",), LORA])
    for number in range(data.draw(st.integers(1, 14))):
        what = data.draw(st.sampled_from(["put", "put", "release", "drop", "take"]))
        key = f"a{data.draw(st.integers(0, 5))}" if what in ("take", "drop") else f"a{number}"
        if what == "put":
            opened = make(data.draw(ranks), data.draw(targets), number)
            before = world.table.keys()
            try:
                taken.append((world.table.put(key, opened), opened))
            except StoreError:
                assert world.table.keys() == before
        elif what == "release" and taken:
            world.table.release(taken.pop(data.draw(st.integers(0, len(taken) - 1)))[0])
        elif what == "drop":
            in_use = any(resident.key == key for resident, _ in taken)
            assert world.table.drop(key) != in_use
        elif what == "take" and (found := world.table.take(key)) is not None:
            taken.append((found, make(found.shape.rank, sorted(found.shape.targets), found.details["seed"])))
        assert {resident.key for resident, _ in taken} <= set(world.table.keys())
        assert len(world.table) == 1 or world.table.bytes_used <= capacity
        if taken:
            world.check(dict(data.draw(st.permutations(taken))))


def test_two_threads_at_once() -> None:
    """One loads, drops and evicts while another reads; every answer is right."""
    world = World(6 * ROW)
    opened = {
        f"a{number}": make((3, 8, 20)[number % 3], LORA if number % 4 == 0 else ("one",), number)
        for number in range(12)
    }
    stop = threading.Event()
    short = 0

    def load() -> int:
        nonlocal short
        chance = random.Random(1)
        for turn in range(600):
            name = chance.choice(list(opened))
            if turn % 3 == 0:
                world.table.drop(chance.choice(list(opened)))
            try:
                world.table.release(world.table.put(name, opened[name]))
            except StoreError:
                short += 1
        stop.set()
        return short

    def read() -> int:
        chance, checked = random.Random(2), 0
        while not stop.is_set() or not checked:
            names = chance.sample(list(opened), 3)
            taken = {found: opened[name] for name in names if (found := world.table.take(name)) is not None}
            try:
                if taken:
                    world.check(taken)
                    world.check(taken, world.table.pack_tight(list(taken), torch.float32))
                    checked += len(taken)
            finally:
                for resident in taken:
                    world.table.release(resident)
        return checked

    with ThreadPoolExecutor(3) as pool:
        jobs = [pool.submit(load), pool.submit(load), pool.submit(read)]
        assert jobs[2].result() > 0
        assert jobs[0].result() < 600
    for name in list(opened):
        resident = world.table.take(name)
        if resident is not None:
            assert resident.users == 1
            world.check({resident: opened[name]})


def test_one_key_at_once_is_one_adapter() -> None:
    world = World()
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: world.table.put("a", make()), range(40)))
    assert len(set(found)) == 1
    assert found[0].users == 40


def test_rows_begin_where_vectors_do() -> None:
    """Ranks are padded to multiples of 8."""
    world = World()
    world.table.put("a", make(3, LORA))
    layout: Layout = world.table._rows.layout
    assert layout.rank == 8
    assert layout.slices["one.A"] == (slice(0, 8 * INPUTS), (8, INPUTS))
    world.table.put("b", make(9))
    assert world.table._rows.layout.rank == 16


def _without(opened: Opened, name: str) -> Opened:
    return replace(opened, tensors={key: value for key, value in opened.tensors.items() if key != name})


def _with(opened: Opened, **tensors: torch.Tensor) -> Opened:
    named = {name.replace("_", "."): value for name, value in tensors.items()}
    return replace(opened, tensors={**opened.tensors, **named})


@pytest.mark.parametrize(
    ("opened", "said"),
    [
        (make(4, ("one",)), ""),
        (_with(make(), one_A=torch.zeros(3, INPUTS)), r"one.A has the sizes \(3, 6\), and \(4, 6\) fit"),
        (_with(make(), one_B=torch.zeros(4, HIDDEN)), r"one.B has the sizes \(4, 5\), and \(5, 4\) fit"),
        (_with(make(), head_bias=torch.zeros(OUTPUTS, 1)), "head.bias has the sizes"),
        (_with(make(), one_A=torch.full((4, INPUTS), torch.nan)), "one.A holds numbers that are not finite"),
        (_with(make(), head_bias=torch.full((OUTPUTS,), torch.inf)), "head.bias holds numbers that are not finite"),
        (_with(make(), two_A=torch.zeros(4, HIDDEN)), "two.A is nothing that it adapts"),
        (_with(make(), three_A=torch.zeros(4, HIDDEN)), "three.A is nothing that it adapts"),
        (_without(make(), "one.B"), "one.B is not in it"),
        (_without(make(), "head.bias"), "head.bias is not in it"),
        (replace(make(), shape=AdapterShape(4, frozenset({"three"}), frozenset())), "it adapts three, which"),
        (replace(make(), scale=float("nan")), "its alpha / rank is nan"),
    ],
)
def test_what_does_not_fit_is_refused(opened: Opened, said: str) -> None:
    world = World()
    if not said:
        world.table.put("a", opened)
        return
    with pytest.raises(StoreError, match=said):
        world.table.put("a", opened)
    assert world.table.keys() == []


@pytest.mark.skipif(sys.platform != "linux", reason="the memory of a process is limited as Linux does it")
def test_memory_that_is_not_there() -> None:
    """Whoever was there answers on."""
    import resource

    wide = 2**22
    table = AdapterTable([Site("one", wide, 1), Site("two", 4, 4)], CPU, 2**40)
    small = Opened(
        AdapterShape(1, frozenset({"two"}), frozenset()),
        1.0,
        {"two.A": torch.ones(1, 4), "two.B": torch.ones(4, 1)},
        {},
    )
    resident = table.put("small", small)
    before = table.pack([resident], torch.float32).weights
    large = Opened(
        AdapterShape(1, frozenset({"one"}), frozenset()),
        1.0,
        {"one.A": torch.ones(1, wide), "one.B": torch.ones(1, 1)},
        {},
    )
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + 2**26, limits[1]))
    try:
        with pytest.raises(StoreError, match="no memory for 134 MB more"):
            table.put("large", large)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)
    assert table.keys() == ["small"]
    assert torch.equal(table.pack([resident], torch.float32).weights, before)
    assert table.put("large", large).users == 1
