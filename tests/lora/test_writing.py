"""Texts that are written together, come and go at any step, and say what they would say alone."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import PeftModel

from tests.lora.causal import CPU, KINDS, RANKS, SCALES, VOCABULARY, Packed, make_model, some_rows
from tuner.errors import EngineError
from tuner.lora import writing as module
from tuner.lora.adapter import save_peft
from tuner.lora.generate import generate
from tuner.lora.parameters import AdapterShape
from tuner.lora.slots import Slots
from tuner.lora.table import AdapterTable, Opened, Resident
from tuner.lora.taste import Taste
from tuner.lora.writing import Text, Writer

# PEFT asks transformers for a name that it will drop
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
LENGTHS = (7, 1, 40, 33, 2)
NEW = 12
STOP = 5
WHO = st.integers(-1, len(RANKS) - 1)


@dataclass(eq=False)
class Told:
    """What a text's owner hears."""

    last: int | None = None  # the token that ends it, as a stop string would
    tokens: list[int] = field(default_factory=list)
    ends: list[Any] = field(default_factory=list)
    cancelled: bool = False

    def hear(self, token: int) -> bool:
        self.tokens.append(token)
        return token == self.last


class World:
    """A toy model with a table of its adapters, -1 being the base alone."""

    def __init__(self, kind: str = "llama", stop: Collection[int] = (STOP,), room: int = 100_000) -> None:
        self.packed = Packed(kind)
        self.table = AdapterTable(self.packed.sites, CPU, 10**9)
        self.residents = {-1: self.table.take_base()}
        modules = frozenset(self.packed.modules)
        for slot, (rank, scale) in enumerate(zip(RANKS, SCALES, strict=True)):
            opened = Opened(AdapterShape(rank, modules, frozenset()), scale, self.packed.store.tensors(slot), {})
            self.residents[slot] = self.table.put(f"a@{slot}", opened)
        self.stop = stop
        self.writer = Writer(self.packed.decoder, self.packed.context, self.table, stop, room)

    def add(self, who: int, prompt: Sequence[int], limit: int = NEW, last: int | None = None, **taste: Any) -> Told:
        told = Told(last)
        text = Text(
            prompt, self.residents[who], limit, told.hear, told.ends.append, Taste(**taste), lambda: told.cancelled
        )
        self.writer.add(text)
        return told

    def finish(self) -> list[int]:
        steps = []
        while self.writer.busy:
            steps.append(self.writer.step())
        return steps

    def alone(self, who: int, prompt: Sequence[int], limit: int = NEW) -> tuple[list[int], str]:
        """What `generate` writes."""
        pack = self.packed.pack([] if who < 0 else [who])
        ((text,),) = generate(self.packed.decoder, self.packed.context, pack, [prompt], limit, self.stop)
        return list(text.tokens), "stop" if text.ended else "length"


@pytest.fixture(scope="module")
def llama() -> World:
    return World()


@pytest.mark.parametrize("kind", KINDS)
def test_adapters_and_the_base_write_together_what_each_writes_alone(kind: str) -> None:
    world = World(kind, stop=range(3, 12))
    asked = [(who, row) for row in some_rows(LENGTHS) for who in (2, -1, 0, 1)]
    told = [world.add(who, row) for who, row in asked]
    steps = world.finish()
    assert steps[0] == len(asked), "all are read, and written on, in the first step"
    expected = [world.alone(who, row) for who, row in asked]
    assert [(each.tokens, each.ends[0]) for each in told] == expected
    assert {len(each.ends) for each in told} == {1}
    assert len({tuple(tokens) for tokens, _ in expected}) > len(LENGTHS), "adapters differ"
    assert {end for _, end in expected} == {"stop", "length"}


def test_it_is_what_plain_peft_writes(tmp_path: Path) -> None:
    world = World(stop=())
    rows = some_rows(LENGTHS)
    told = {(who, at): world.add(who, row) for who in (-1, 1) for at, row in enumerate(rows)}
    world.finish()
    options: dict[str, Any] = {"max_new_tokens": NEW, "do_sample": False, "eos_token_id": [], "pad_token_id": 0}
    modules = world.packed.modules
    folder = tmp_path / "adapter"
    folder.mkdir()
    save_peft(
        folder,
        world.packed.store.tensors(1),
        base="toy",
        revision=None,
        modules=modules,
        targets=sorted({name.rpartition(".")[2] for name in modules}),
        full=(),
        all_linear=modules,
        rank=RANKS[1],
        alpha=RANKS[1] * SCALES[1],
        dropout=0.0,
        task_type="CAUSAL_LM",
    )
    assert json.loads((folder / "adapter_config.json").read_text())["r"] == RANKS[1]
    plain = make_model("llama")
    for who in (-1, 1):
        model = plain if who < 0 else PeftModel.from_pretrained(plain, str(folder)).eval()
        for at, row in enumerate(rows):
            ids = torch.tensor([row])
            found = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), **options)
            assert told[who, at].tokens == found[0, len(row) :].tolist()


PLAN = st.lists(
    st.tuples(
        st.integers(0, 3),  # steps before it comes
        WHO,
        st.integers(1, 40),  # tokens of its prompt
        st.integers(1, 20),  # tokens at most
        st.one_of(st.none(), st.integers(0, VOCABULARY - 1)),  # the token that its owner ends it with
        st.one_of(st.none(), st.integers(0, 6)),  # steps after which it is cancelled
        st.one_of(st.none(), st.integers(0, 2**63 - 1)),  # the seed of one that is drawn
    ),
    min_size=1,
    max_size=10,
)


@settings(deadline=None, max_examples=60)
@given(PLAN, st.sampled_from([96, 200, 100_000]), st.sampled_from([1, 40, 2048]))
def test_coming_and_going_changes_nothing_that_is_said(
    llama: World, plan: list[tuple[Any, ...]], room: int, read: int
) -> None:
    """Whoever comes, leaves, is cancelled or waits: each text is the one written alone, or its beginning if it was
    cancelled."""
    llama.writer.room = room
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "READ", read)
        under_way: list[tuple[Told, int | None]] = []
        all_told = []
        for number, (wait, who, length, limit, last, cancel, seed) in enumerate(plan):
            for _ in range(wait):
                step(llama, under_way)
            (row,) = some_rows([length], number)
            taste: dict[str, Any] = {} if seed is None else {"seed": seed, "temperature": 1.5, "top_p": 0.9}
            told = llama.add(who, row, limit, last, **taste)
            under_way.append((told, cancel))
            all_told.append((told, who, row, limit, last, cancel, taste))
        while llama.writer.busy:
            step(llama, under_way)
    llama.writer.room = 100_000
    for told, who, row, limit, last, cancel, taste in all_told:
        solo = llama.add(who, row, limit, last, **taste)
        llama.finish()
        assert len(told.ends) == 1
        if told.ends == [None]:
            assert cancel is not None
            assert told.tokens == solo.tokens[: len(told.tokens)]
        else:
            assert (told.tokens, told.ends) == (solo.tokens, solo.ends)
        if not taste and last is None:
            assert (solo.tokens, solo.ends[0]) == llama.alone(who, row, limit)


def step(world: World, under_way: list[tuple[Told, int | None]]) -> None:
    for at, (told, cancel) in enumerate(under_way):
        told.cancelled = cancel == 0
        under_way[at] = told, None if cancel is None else cancel - 1
    world.writer.step()
    for told, cancel in under_way:
        if cancel == -1 and not told.ends:
            raise AssertionError("a cancelled text did not leave at the next step")


def test_a_newcomer_is_read_beside_texts_under_way(llama: World) -> None:
    rows = some_rows((9, 30))
    first = llama.add(0, rows[0])
    llama.writer.step()
    llama.writer.step()
    said = len(first.tokens)
    second = llama.add(1, rows[1])
    assert llama.writer.step() == 2
    assert (len(first.tokens), len(second.tokens)) == (said + 1, 2)
    llama.finish()
    assert (first.tokens, first.ends[0]) == llama.alone(0, rows[0])
    assert (second.tokens, second.ends[0]) == llama.alone(1, rows[1])


def test_prompts_beyond_the_bound_wait_for_the_next_step(llama: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "READ", 50)
    told = [llama.add(0, row) for row in some_rows((30, 20, 60, 10))]
    seen = []
    for _ in range(3):
        llama.writer.step()
        seen.append([bool(each.tokens or each.ends) for each in told])
    assert seen == [[True, True, False, False], [True, True, True, False], [True] * 4]
    llama.finish()


def test_the_room_is_never_overrun_and_the_line_keeps_its_order(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(stop=(), room=3 * 64)
    held: list[tuple[int, int]] = []
    monkeypatch.setattr(Slots, "joined", watched(Slots.joined, held))
    told = [world.add(at % 3, row, 20) for at, row in enumerate(some_rows((40, 40, 10, 90, 10, 10)))]
    order: list[int] = []
    while world.writer.busy:
        world.writer.step()
        order += [at for at, each in enumerate(told) if each.tokens and at not in order]
    assert order == sorted(order)
    assert max(slots * columns for slots, columns in held) <= 192
    assert all(each.ends == ["length"] for each in told)
    assert world.writer.fits(150, 43)
    assert not world.writer.fits(150, 44)


def watched(joined: Any, held: list[tuple[int, int]]) -> Any:
    def watch(slots: Any) -> None:
        joined(slots)
        held.extend(tuple(keys.shape[0::2][:2]) for keys, _ in slots._layers.values())

    return watch


def test_a_waiting_text_that_is_cancelled_is_never_read() -> None:
    world = World(room=64)
    first = world.add(0, [9] * 10, 8)
    second = world.add(1, [9] * 50, 8)
    world.writer.step()
    second.cancelled = True
    world.finish()
    assert (second.tokens, second.ends) == ([], [None])
    assert first.ends != [None]


def test_the_same_seed_says_the_same_and_another_something_else(llama: World) -> None:
    (row,) = some_rows((12,))
    hot: dict[str, Any] = {"temperature": 2.0, "top_p": 0.95}
    told = [llama.add(1, row, 20, **hot, seed=seed) for seed in (4, 4, 5, 2**63 - 1)]
    free = [llama.add(1, row, 20, **hot) for _ in range(2)]
    greedy = llama.add(1, row, 20)
    llama.finish()
    assert told[0].tokens == told[1].tokens
    assert len({tuple(each.tokens) for each in (*told, *free, greedy)}) == 6
    assert greedy.tokens == llama.alone(1, row, 20)[0]


def test_an_adapter_of_nan_ends_with_an_error_and_leaves_others_and_its_place_clean() -> None:
    world = World(stop=())
    rows = some_rows((8, 30, 5))
    expected = [world.alone(0, row)[0] for row in rows]
    shape = AdapterShape(2, frozenset(world.packed.modules), frozenset())
    store = world.packed.store
    broken = {
        name: torch.zeros_like(value[:2] if name.endswith("A") else value[:, :2])
        for name, value in store.tensors(1).items()
    }
    world.residents[7] = world.table.put("broken", Opened(shape, 1.0, broken, {}))
    world.table._rows.average[world.residents[7].row] = torch.nan
    told = [world.add(0, rows[0]), world.add(7, rows[1]), world.add(0, rows[2])]
    world.writer.step()
    again = world.add(0, rows[1])
    world.finish()
    assert isinstance(told[1].ends[0], EngineError)
    assert [told[0].tokens, again.tokens, told[2].tokens] == [expected[0], expected[1], expected[2]]


def test_an_owner_that_fails_ends_its_own_text(llama: World) -> None:
    ends: list[Any] = []

    def hear(token: int) -> bool:
        raise ValueError("no")

    llama.writer.add(Text([8], llama.residents[0], 5, hear, ends.append))
    other = llama.add(0, [9, 9])
    llama.finish()
    assert [str(end) for end in ends] == ["no"]
    assert (other.tokens, other.ends[0]) == llama.alone(0, [9, 9])


def test_abandoned_texts_end_with_the_error_and_the_writer_goes_on(llama: World) -> None:
    rows = some_rows((6, 7))
    told = [llama.add(0, rows[0], 50, seed=1, temperature=1.0), llama.add(1, rows[1])]
    llama.writer.step()
    told.append(llama.add(2, rows[1]))
    error = RuntimeError("the device is gone")
    llama.writer.abandon(error)
    assert [each.ends[-1] for each in told if each.ends[-1:] == [error]] != []
    assert told[2].ends == [error]
    assert not llama.writer.busy
    assert llama.packed.context.pack is None
    later = llama.add(1, rows[0])
    llama.finish()
    assert later.tokens == llama.alone(1, rows[0])[0]


def test_an_adapter_that_joins_the_table_while_others_write(llama: World) -> None:
    """A larger rank brings a new layout; what was under way goes on with what it took."""
    (row,) = some_rows((15,))
    world = World()
    told = world.add(1, row)
    world.writer.step()
    generator = torch.Generator().manual_seed(5)
    tensors = {
        f"{site.name}.{part}": torch.randn(*size, generator=generator) * 0.1
        for site in world.packed.sites
        for part, size in (("A", (20, site.inputs)), ("B", (site.outputs, 20)))
    }
    large: Resident = world.table.put(
        "large", Opened(AdapterShape(20, frozenset(world.packed.modules), frozenset()), 1.0, tensors, {})
    )
    world.residents[9] = large
    late = world.add(9, row)
    world.finish()
    assert told.tokens == world.alone(1, row)[0]
    solo = world.add(9, row)
    world.finish()
    assert late.tokens == solo.tokens != told.tokens


def test_penalties_lower_what_was_said() -> None:
    world = World(stop=())
    (row,) = some_rows((4,))
    tastes: list[dict[str, Any]] = [{}, {"presence": 1e3}, {"frequency": 1e3, "presence": -1.0}]
    plain, once, often = (world.add(-1, row, 60, **taste) for taste in tastes)
    world.finish()
    assert len(set(plain.tokens)) < 60
    assert len(set(once.tokens)) == len(set(often.tokens)) == 60
    assert list(takewhile(lambda pair: pair[0] == pair[1], zip(plain.tokens, once.tokens, strict=True)))
