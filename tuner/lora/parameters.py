"""The trainable numbers of many adapters in one matrix: one adapter a row, each row laid out alike.

A row holds, module after module, A (rank, in) and the transpose of B, (rank, out), of every LoRA module, then the
weight and bias of every module trained in full. Ranks are zero-padded to the largest in the pack, and a module an
adapter does not target is all zeros. Padding is exact: with a row of A and the matching column of B at zero, both
their gradients are zero (dB = g^T (x A^T), dA = (g B)^T x), AdamW leaves a zero with zero moments at zero, and so
does weight decay.

LoRA: h = W x + (alpha / rank) B A x (Hu et al. 2021, arXiv:2106.09685), A drawn as PEFT draws it (Kaiming uniform, a
= sqrt 5), B zero.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from tuner.lora.moments import BLOCK, Moments, signed_map, squared_map


@dataclass(frozen=True)
class Site:
    """One module: its name, whether it is trained in full or by LoRA, and its sizes."""

    name: str
    inputs: int
    outputs: int
    full: bool = False
    bias: bool = False
    std: float = 0.02  # of the initial weight of a module trained in full


@dataclass(frozen=True)
class AdapterShape:
    """What one adapter trains: LoRA of `rank` on `targets`, and all of `full`."""

    rank: int
    targets: frozenset[str]
    full: frozenset[str]


class Layout:
    """Where each tensor of an adapter lies in its row. `decayed` is how many leading numbers weight decay applies to:
    biases lie behind it. Every tensor begins at a multiple of `align`, and so would one more behind the last."""

    def __init__(self, sites: Iterable[Site], rank: int, align: int = 1) -> None:
        self.sites = tuple(sites)
        self.rank = rank
        self.slices: dict[str, tuple[slice, tuple[int, int]]] = {}
        at = 0
        for site in self.sites:
            tensors = (
                {f"{site.name}.weight": (site.outputs, site.inputs)}
                if site.full
                else {f"{site.name}.A": (rank, site.inputs), f"{site.name}.B": (rank, site.outputs)}
            )
            for name, shape in tensors.items():
                size = shape[0] * shape[1]
                self.slices[name] = (slice(at, at + size), shape)
                at = -(-(at + size) // align) * align
        self.decayed = at
        for site in self.sites:
            if site.full and site.bias:
                self.slices[f"{site.name}.bias"] = (slice(at, at + site.outputs), (1, site.outputs))
                at = -(-(at + site.outputs) // align) * align
        self.size = at

    def view(self, rows: torch.Tensor, name: str) -> torch.Tensor:
        """The tensor `name` of every row: (N, size) -> (N, *shape), no copy."""
        where, shape = self.slices[name]
        found: torch.Tensor = rows[:, where].unflatten(1, shape)
        return found

    def trimmed(self, row: torch.Tensor, shape: AdapterShape) -> dict[str, torch.Tensor]:
        """One row (size,) as named tensors without padding: A (r, in), B (out, r), weight (out, in), bias (out,)."""
        tensors = {}
        for site in self.sites:
            if site.name not in (shape.full if site.full else shape.targets):
                continue
            names = ("weight", "bias") if site.full else ("A", "B")
            for part in names:
                name = f"{site.name}.{part}"
                if name not in self.slices:
                    continue
                value = self.view(row[None], name)[0]
                if part in "AB":
                    value = value[: shape.rank]
                if part == "B":
                    value = value.T
                tensors[name] = value.reshape(-1).clone() if part == "bias" else value.clone()
        return tensors

    def fill(self, row: torch.Tensor, tensors: Mapping[str, torch.Tensor]) -> None:
        """Write named tensors into a row (size,), zeros elsewhere. Raises KeyError for a name the layout lacks."""
        row.zero_()
        for name, value in tensors.items():
            target = self.view(row[None], name)[0]
            if name.endswith(".B"):
                target = target.T
            target[: value.shape[0] if value.ndim == 2 else 1, : value.shape[-1]] = value.to(row)

    def count(self, shape: AdapterShape) -> int:
        """How many numbers an adapter of this shape trains, padding left out."""
        total = 0
        for site in self.sites:
            if site.full and site.name in shape.full:
                total += site.outputs * (site.inputs + int(site.bias))
            elif not site.full and site.name in shape.targets:
                total += shape.rank * (site.inputs + site.outputs)
        return total


def initial_tensors(sites: Sequence[Site], shape: AdapterShape, seed: int) -> dict[str, torch.Tensor]:
    """Fresh fp32 tensors for one adapter, a function of its seed and shape alone."""
    generator = torch.Generator().manual_seed(seed)
    tensors: dict[str, torch.Tensor] = {}
    for site in sites:
        if site.full and site.name in shape.full:
            tensors[f"{site.name}.weight"] = torch.randn(site.outputs, site.inputs, generator=generator) * site.std
            if site.bias:
                tensors[f"{site.name}.bias"] = torch.zeros(site.outputs)
        elif not site.full and site.name in shape.targets:
            # Kaiming uniform with a = sqrt 5 is uniform within 1 / sqrt(fan_in)
            bound = 1 / math.sqrt(site.inputs)
            drawn = torch.rand(shape.rank, site.inputs, generator=generator)
            tensors[f"{site.name}.A"] = drawn * 2 * bound - bound
            tensors[f"{site.name}.B"] = torch.zeros(site.outputs, shape.rank)
    return tensors


def tensor_shapes(sites: Sequence[Site], shape: AdapterShape) -> dict[str, tuple[int, ...]]:
    """Names and sizes of one adapter's tensors, as `Layout.trimmed` gives them."""
    sizes: dict[str, tuple[int, ...]] = {}
    for site in sites:
        if site.full and site.name in shape.full:
            sizes[f"{site.name}.weight"] = (site.outputs, site.inputs)
            if site.bias:
                sizes[f"{site.name}.bias"] = (site.outputs,)
        elif not site.full and site.name in shape.targets:
            sizes[f"{site.name}.A"] = (shape.rank, site.inputs)
            sizes[f"{site.name}.B"] = (site.outputs, shape.rank)
    return sizes


class ParameterStore:
    """Master weights, their running averages, gradients and Adam moments of up to `slots` adapters, (rows, size) fp32
    on one device, with a row for each slot up to the last one that is taken. An adapter trains with its weights; it is
    judged and kept by their average (see `optim`). With `compressed`, the moments are held in 8 bits (see `moments`).

    The layout covers the sites that its adapters use, at the largest rank among them, and is made anew when an adapter
    joins or leaves. Not thread-safe.
    """

    def __init__(self, sites: Sequence[Site], slots: int, device: torch.device, *, compressed: bool = False) -> None:
        self.sites = tuple(sites)
        self.device = device
        self.compressed = compressed
        self.shapes: list[AdapterShape | None] = [None] * slots
        self.layout = Layout((), 0)
        self.weights = self.average = self.gradients = torch.zeros(slots, 0, device=device)
        self.first: torch.Tensor | Moments = self.gradients
        self.second: torch.Tensor | Moments = self.gradients

    def put(self, slot: int, shape: AdapterShape, weights: Mapping[str, torch.Tensor]) -> None:
        """Place an adapter in a free slot: its average is what it is, its moments are zero. Where memory does not
        suffice, all is as before."""
        before, shapes = dict(vars(self)), list(self.shapes)
        kept = self._take_all()
        self.shapes[slot] = shape
        kept[slot] = (dict(weights), dict(weights), {}, {})
        try:
            self._lay_out(kept)
        except Exception:
            vars(self).update(before)
            self.shapes = shapes
            raise

    def free(self, slot: int) -> None:
        """Forget the adapter of a slot."""
        kept = self._take_all()
        self.shapes[slot] = None
        kept.pop(slot, None)
        self._lay_out(kept)

    def tensors(self, slot: int, kind: str = "weights") -> dict[str, torch.Tensor]:
        """Copies of one adapter's tensors on the CPU, unpadded; kind is weights, average, first or second."""
        shape = self.shapes[slot]
        assert shape is not None
        return {name: value.cpu() for name, value in self.layout.trimmed(getattr(self, kind)[slot], shape).items()}

    def restore(self, slot: int, kind: str, tensors: Mapping[str, torch.Tensor]) -> None:
        """Put back what `tensors` gave for an adapter in its slot; kind is weights, average, first or
        second."""
        rows = getattr(self, kind)
        row = rows[slot]
        self.layout.fill(row, tensors)
        if isinstance(rows, Moments):
            rows[slot] = row

    def keep_moments(self, slot: int, first: torch.Tensor, second: torch.Tensor) -> None:
        """Keep what became of `first[slot]` and `second[slot]`. Where they are no copies there is nothing to do."""
        if self.compressed:
            self.first[slot] = first
            self.second[slot] = second

    def size_mb(self, slot: int) -> float:
        """Megabytes (10^6 bytes) of one adapter as saved in fp32."""
        shape = self.shapes[slot]
        assert shape is not None
        return self.layout.count(shape) * 4 / 1e6

    def _take_all(self) -> dict[int, tuple[dict[str, torch.Tensor], ...]]:
        return {
            slot: tuple(
                self.layout.trimmed(rows[slot], shape) for rows in (self.weights, self.average, self.first, self.second)
            )
            for slot, shape in enumerate(self.shapes)
            if shape is not None
        }

    def _lay_out(self, kept: Mapping[int, tuple[Mapping[str, torch.Tensor], ...]]) -> None:
        shapes = [shape for shape in self.shapes if shape is not None]
        used = set().union(*(shape.targets | shape.full for shape in shapes)) if shapes else set()
        # multiples of 8 keep rows of the small products on vector boundaries
        rank = max((-(-shape.rank // 8) * 8 for shape in shapes), default=0)
        align = BLOCK if self.compressed else 1
        self.layout = Layout((replace(site) for site in self.sites if site.name in used), rank, align)
        occupied = [slot for slot, shape in enumerate(self.shapes) if shape is not None]
        size = (max(occupied, default=-1) + 1, self.layout.size)  # free slots behind the last one take no memory
        self.weights = torch.zeros(size, device=self.device)
        self.average = torch.zeros(size, device=self.device)
        self.gradients = torch.zeros(size, device=self.device)
        if self.compressed:
            self.first = Moments(*size, signed_map(), self.device)
            self.second = Moments(*size, squared_map(), self.device)
        else:
            self.first = torch.zeros(size, device=self.device)
            self.second = torch.zeros(size, device=self.device)
        for slot, parts in kept.items():
            for kind, tensors in zip(("weights", "average", "first", "second"), parts, strict=True):
                self.restore(slot, kind, tensors)
