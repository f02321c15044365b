"""The adapters that a server holds ready: one a row of one matrix beside the frozen base, least recently used ones
evicted.

Unlike the parameter store of training, nothing here learns: there is one copy of each adapter, in fp32, and joining
costs one row. A row whose adapter fits the layout is written in place, since nobody reads it yet; an adapter of a
larger rank, or of modules that no other uses, brings a new matrix with every row copied into it, which replaces the old
one in one assignment. Where memory is short, the layout is cut to what those who stay need. So one thread may load
adapters while another reads: the rows of adapters with requests under way are never written, and whoever takes one or
packs some never waits for a copy.

Row 0 is all zeros: the base alone, which with B = 0 is exact, so that requests for the base share a forward with
those for adapters. (A module trained in full has no such zero; tasks with one have no base to ask.)
"""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from tuner.device import is_out_of_memory
from tuner.errors import StoreError
from tuner.lora.packed import Member, Pack
from tuner.lora.parameters import AdapterShape, Layout, Site, tensor_shapes


@dataclass(frozen=True)
class Opened:
    """An adapter as read from disk: tensors as `Layout.trimmed` names them, the modules and rank they are of, alpha /
    rank, and what its task wrote down about it."""

    shape: AdapterShape
    scale: float
    tensors: Mapping[str, torch.Tensor]
    details: Mapping[str, Any]


@dataclass(eq=False)
class Resident:
    """An adapter in the table. `row` is its number, 0 the base's: no two residents share one, and it stays theirs.
    `users` counts the requests under way; while there are any, it is not evicted."""

    key: str
    row: int
    scale: float
    shape: AdapterShape
    details: Mapping[str, Any]
    users: int = 0
    used: int = 0
    task: dict[str, Any] = field(default_factory=dict)  # what a task keeps with it


class TableFullError(StoreError):
    """All memory is taken by adapters with requests under way; `oldest` is the least recently used of them."""

    def __init__(self, capacity: int, adapters: int, oldest: Resident) -> None:
        memory = f"{capacity / 1e6:.0f} MB"
        super().__init__(f"{adapters} adapters fill the {memory} there are for them, and all are in use.")
        self.oldest = oldest


@dataclass(frozen=True)
class _Rows:
    """What a `Pack` reads of a store: rows laid out alike. `places` says by a resident's number which row is its."""

    layout: Layout
    average: torch.Tensor  # (rows, size) fp32
    device: torch.device
    places: Mapping[int, int]

    @property
    def weights(self) -> torch.Tensor:
        return self.average

    @property
    def gradients(self) -> torch.Tensor:
        raise TypeError("nothing is learnt in an adapter table")


class AdapterTable:
    """Adapters of one base by key, at most `capacity` bytes of them (one at least). Thread-safe."""

    def __init__(self, sites: Sequence[Site], device: torch.device, capacity: int) -> None:
        self.sites = {site.name: site for site in sites}
        self.capacity = capacity
        self._device = device
        self._lock = threading.Lock()  # held for moments
        self._joining = threading.Lock()  # one adapter is made resident at a time
        self._clock = self._numbers = 0
        self._residents: dict[str, Resident] = {}
        self.base = Resident("", 0, 0.0, AdapterShape(0, frozenset(), frozenset()), {})
        self._rows = _Rows(Layout((), 0), torch.zeros(1, 0, device=device), device, {0: 0})

    @property
    def bytes_used(self) -> int:
        """What the residents' rows take."""
        return len(self._residents) * self._rows.layout.size * 4

    def __len__(self) -> int:
        return len(self._residents)

    def keys(self) -> list[str]:
        """Those of the residents."""
        with self._lock:
            return list(self._residents)

    def take(self, key: str) -> Resident | None:
        """The adapter of this key, counted as used until `release`; None where it is not resident."""
        with self._lock:
            found = self._residents.get(key)
            return None if found is None else self._counted(found)

    def take_base(self) -> Resident:
        """The base alone, which is always there."""
        return self.base

    def release(self, resident: Resident) -> None:
        """A request that took it has ended."""
        with self._lock:
            resident.users -= resident is not self.base

    def put(self, key: str, opened: Opened) -> Resident:
        """Make an adapter resident and take it. Raises StoreError if it does not fit the base, TableFullError if
        adapters with requests under way take all memory, StoreError if others than the table do."""
        self._check(opened)
        with self._joining:
            with self._lock:
                found = self._residents.get(key)
                if found is not None:
                    return self._counted(found)
                layout = self._make_room(opened.shape)
                staying = list(self._residents.values())
            try:
                rows, place = self._with_place(layout, staying)
                layout.fill(rows.average[place], opened.tensors)
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                raise StoreError(f"the device has no memory for {layout.size * 4 / 1e6:.0f} MB more.") from error
            with self._lock:
                self._numbers += 1
                found = Resident(key, self._numbers, opened.scale, opened.shape, opened.details)
                kept = {each.row: rows.places[each.row] for each in [self.base, *self._residents.values()]}
                self._rows = replace(rows, places={**kept, found.row: place})
                self._residents[key] = found
                return self._counted(found)

    def drop(self, key: str) -> bool:
        """Forget an adapter; False while requests for it are under way."""
        with self._lock:
            found = self._residents.get(key)
            if found is not None and found.users:
                return False
            self._residents.pop(key, None)
            return True

    def pack(self, residents: Sequence[Resident], dtype: torch.dtype) -> Pack:
        """These adapters, in this order, as members of a forward that answers. They must be taken, and stay so as long
        as the pack is used: it may read their rows where they lie."""
        rows = self._rows
        members = [Member(rows.places[resident.row], resident.scale) for resident in residents]
        return Pack(rows, members, dtype, train=False)

    def pack_tight(self, residents: Sequence[Resident], dtype: torch.dtype, part: str = "") -> Pack:
        """As `pack`, in rows that have room for no more than these adapters need of the modules whose names begin with
        `part`. That is a copy, and pays where one pack serves several forwards: else whoever adapts little pays for the
        largest adapter in the table."""
        rows = self._rows
        used = {name for resident in residents for name in resident.shape.targets | resident.shape.full}
        rank = max((_padded(resident.shape.rank) for resident in residents), default=0)
        sites = [site for site in rows.layout.sites if site.name in used and site.name.startswith(part)]
        layout = Layout(sites, rank)
        places = [rows.places[resident.row] for resident in residents]
        tight = torch.empty(len(places), layout.size, device=self._device)
        for name, (_, shape) in layout.slices.items():
            layout.view(tight, name).copy_(rows.layout.view(rows.average, name)[places, : shape[0]])
        numbered = [Member(row, resident.scale) for row, resident in enumerate(residents)]
        return Pack(_Rows(layout, tight, self._device, {}), numbered, dtype, train=False)

    def _counted(self, resident: Resident) -> Resident:
        self._clock += 1
        resident.used = self._clock
        resident.users += 1
        return resident

    def _check(self, opened: Opened) -> None:
        shape = opened.shape
        if unknown := sorted((shape.targets | shape.full) - set(self.sites)):
            raise StoreError(f"it adapts {unknown[0]}, which the base does not have.")
        if not math.isfinite(opened.scale):
            raise StoreError(f"its alpha / rank is {opened.scale}.")
        sizes = tensor_shapes(list(self.sites.values()), shape)
        if odd := sorted(sizes.keys() ^ opened.tensors.keys()):
            raise StoreError(f"{odd[0]} is {'not in it' if odd[0] in sizes else 'nothing that it adapts'}.")
        for name, value in opened.tensors.items():
            if tuple(value.shape) != sizes[name]:
                raise StoreError(f"{name} has the sizes {tuple(value.shape)}, and {sizes[name]} fit the base.")
            if not bool(torch.isfinite(value).all()):
                raise StoreError(f"{name} holds numbers that are not finite.")

    def _make_room(self, shape: AdapterShape) -> Layout:
        """A layout for all residents and one more of this shape. Where memory is short, the least recently used ones
        leave until it suffices; nobody does if it cannot."""
        now = self._rows.layout
        layout = self._layout([shape, AdapterShape(now.rank, frozenset(site.name for site in now.sites), frozenset())])
        if len(self._residents) < self._most(layout):
            return layout
        staying = deque(sorted(self._residents.values(), key=lambda each: (each.users > 0, each.used)))
        while True:
            layout = self._layout([shape, *(each.shape for each in staying)])
            if len(staying) < self._most(layout):
                break
            if staying[0].users:
                raise TableFullError(self.capacity, len(staying), staying[0])
            staying.popleft()
        self._residents = {each.key: each for each in staying}
        return layout

    def _layout(self, shapes: Iterable[AdapterShape]) -> Layout:
        """One that has room for each of these shapes; the present one if it is just that."""
        rank, used, now = 0, set[str](), self._rows.layout
        for shape in shapes:
            rank = max(rank, _padded(shape.rank))
            used |= shape.targets | shape.full
        if rank == now.rank and used == {site.name for site in now.sites}:
            return now
        return Layout((site for name, site in self.sites.items() if name in used), rank)

    def _most(self, layout: Layout) -> int:
        """How many adapters there may be."""
        return max(1, self.capacity // max(layout.size * 4, 1))

    def _with_place(self, layout: Layout, staying: Sequence[Resident]) -> tuple[_Rows, int]:
        """Rows of this layout with all of these residents, and a row among them that nobody reads."""
        rows, most = self._rows, self._most(layout)
        places = {each.row: rows.places[each.row] for each in [self.base, *staying]}
        if layout is rows.layout:
            taken = set(places.values())
            place = next(number for number in range(1, len(taken) + 1) if number not in taken)
            if place < len(rows.average):
                return rows, place
            average = rows.average.new_zeros(min(2 * place, most + 1), layout.size)
            average[:place] = rows.average
            return replace(rows, average=average), place
        moved = {self.base.row: 0}
        average = torch.zeros(len(staying) + 2, layout.size, device=self._device)
        for each in sorted(staying, key=lambda each: places[each.row]):
            kept = rows.layout.trimmed(rows.average[places[each.row]], each.shape)
            moved[each.row] = len(moved)
            layout.fill(average[moved[each.row]], kept)
        return _Rows(layout, average, self._device, moved), len(moved)


def _padded(rank: int) -> int:
    """Multiples of 8 keep rows of the small products on vector boundaries."""
    return -(-rank // 8) * 8
