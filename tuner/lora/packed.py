"""Many adapters through one frozen layer: two batched matrix products beside the base's own.

Tokens (or rows, pixels) of all members lie one after another, member by member: x (T, in). The frozen layer sees them
as one matrix and never knows whose they are. For LoRA each member's stretch is padded to the longest, (N, M, in), and
multiplied by stacked A^T (N, in, R) and B^T (N, R, out). (A loop over members without padding is no faster on a CPU,
and slower where each product is a kernel to launch.) The gradients of A and B go straight to the members' rows of the
parameter store; the gradient of x goes on through the frozen layer.

Members never mix: every product here is batched over N, and the frozen layer works row by row, so a member whose
numbers are NaN leaves the others' bits alone.

`Pack` is the one forward's company: who takes part, how many rows and tokens each brings, and their dropout. The
wrapped layers read it from the `PackContext` they share. Knows nothing of optimizers, tasks or devices.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import torch
from torch import nn

from tuner.device import moves_by_index
from tuner.lora.dropout import keep_masks, mix, site_key
from tuner.lora.frozen import Frozen, FrozenLinear
from tuner.lora.parameters import Layout, Site


@dataclass(frozen=True)
class Member:
    """One adapter in one forward: its slot in the store, alpha / rank, dropout rate, the seed and step of its dropout
    and of whatever else its task draws, and its hyperparameters, for those that are the task's own."""

    slot: int
    scale: float
    dropout: float = 0.0
    seed: int = 0
    step: int = 0
    params: Mapping[str, Any] = field(default_factory=dict)


class Store(Protocol):
    """Where a pack finds its members' numbers: rows laid out alike, (rows, size) fp32 on one device."""

    @property
    def layout(self) -> Layout:
        """Where each tensor lies in a row."""

    @property
    def weights(self) -> torch.Tensor:
        """What members learn with."""

    @property
    def average(self) -> torch.Tensor:
        """What members are judged with, and answer with."""

    @property
    def gradients(self) -> torch.Tensor:
        """Where `Pack.flush_gradients` leaves what was learnt."""

    @property
    def device(self) -> torch.device:
        """Where they lie."""


class Stretches:
    """How T stacked things divide among N members, and the way to (N, M, ...) with M the longest stretch, and back."""

    def __init__(self, counts: Sequence[int]) -> None:
        self.counts = tuple(counts)
        self.longest = max(self.counts, default=0)
        self.total = sum(self.counts)
        self.even = all(count == self.longest for count in self.counts)
        self._places: torch.Tensor | None = None

    def pad(self, x: torch.Tensor) -> torch.Tensor:
        """(T, C) -> (N, M, C), zeros behind each stretch; a view where all stretches are equal."""
        if self.even:
            return x.reshape(len(self.counts), self.longest, x.shape[-1])
        if moves_by_index(x):
            room = x.new_zeros(len(self.counts) * self.longest, x.shape[-1])
            return room.index_copy_(0, self._where(x.device), x).view(len(self.counts), self.longest, -1)
        padded = x.new_empty(len(self.counts), self.longest, x.shape[-1])
        for row, part in zip(padded, x.split(self.counts), strict=True):
            row[: len(part)] = part
            row[len(part) :] = 0
        return padded

    def unpad(self, y: torch.Tensor) -> torch.Tensor:
        """(N, M, C) -> (T, C)."""
        if self.even:
            return y.flatten(0, 1)
        if moves_by_index(y):
            return y.flatten(0, 1).index_select(0, self._where(y.device))
        return torch.cat([row[:count] for row, count in zip(y, self.counts, strict=True)])

    def _where(self, device: torch.device) -> torch.Tensor:
        """The place of each stacked thing among N * M (T,)."""
        if self._places is None:
            counts = torch.tensor(self.counts)
            within = torch.arange(self.total) - torch.repeat_interleave(counts.cumsum(0) - counts, counts)
            starts = torch.repeat_interleave(torch.arange(len(counts)) * self.longest, counts)
            self._places = (starts + within).to(device)
        return self._places


class Pack:
    """The members of one forward and what each brings: `rows` each, and `tokens` each where rows have many. To train,
    members take part with their weights; else, to be judged, with the running average of them."""

    def __init__(
        self,
        store: Store,
        members: Sequence[Member],
        dtype: torch.dtype,
        *,
        train: bool,
    ) -> None:
        self.store = store
        self.members = tuple(members)
        self.train = train
        self.dtype = dtype
        slots = [member.slot for member in members]
        leading = slots == list(range(len(slots)))
        self.index = torch.tensor(slots, dtype=torch.long, device=store.device)
        every = store.weights if train else store.average
        chosen = every[: len(slots)] if leading else every[self.index]
        # (N, size) in the base's dtype: one cast a step serves all layers
        self.weights = chosen.to(dtype)
        self.exact = chosen  # fp32, for modules trained in full
        self.gradients = torch.zeros_like(chosen) if train else None
        self.scales = torch.tensor([member.scale for member in members], dtype=dtype, device=store.device)
        self.rates = torch.tensor([member.dropout for member in members], device=store.device)
        self.drops = train and any(member.dropout > 0 for member in members)
        self.rows = Stretches([])
        self.tokens = Stretches([])
        # which input was padded last, by its memory, since layers that read it may each have a view of their own; it is
        # kept, without its graph, so that no other tensor comes to lie there
        self._padded: tuple[tuple[int, int, str], torch.Tensor, torch.Tensor, torch.Tensor | None] | None = None

    def bring(self, rows: Sequence[int], tokens: Sequence[int] | None = None) -> None:
        """Say how many rows, and tokens, each member has in the batch that comes next."""
        self.rows = Stretches(rows)
        self.tokens = Stretches(tokens) if tokens is not None else self.rows
        self._padded = None

    def stretches(self, total: int) -> Stretches:
        """Who owns which of `total` stacked things: tokens, rows, or equal parts of rows (pixels of a picture)."""
        if total == self.tokens.total:
            return self.tokens
        if total == self.rows.total:
            return self.rows
        times, rest = divmod(total, max(self.rows.total, 1))
        if rest:
            raise ValueError(f"{total} things cannot be divided among rows {self.rows.counts}")
        return Stretches([count * times for count in self.rows.counts])

    def padded(self, x: torch.Tensor, place: str) -> tuple[torch.Tensor, torch.Tensor | None]:
        """x (T, in) as (N, M, in) with dropout applied, and the mask. Layers that read the same x at the same place
        share it; a place reads one x in a forward."""
        key = (x.data_ptr(), len(x), place)
        if self._padded is not None and self._padded[0] == key:
            return self._padded[2], self._padded[3]
        stretches = self.stretches(len(x))
        padded, mask = stretches.pad(x.detach()), None
        if self.drops:
            site = site_key(place)
            keys = torch.tensor([mix(m.seed, m.step, site) for m in self.members], dtype=torch.int32, device=x.device)
            mask = keep_masks(keys, self.rates, stretches.longest, x.shape[-1], x.dtype)
            padded = padded * mask
        self._padded = (key, x.detach(), padded, mask)
        return padded, mask

    def flush_gradients(self, *, add: bool = False) -> None:
        """Copy the gathered gradients to the store's rows, or add them to what is there."""
        assert self.gradients is not None
        if add:
            self.store.gradients[self.index] += self.gradients
        else:
            self.store.gradients[self.index] = self.gradients


class PackContext:
    """Where wrapped layers find the pack of the forward that runs. One a model; one thread a model."""

    pack: Pack | None = None

    def __init__(self, device: torch.device) -> None:
        # a leaf that requires grad, so that autograd comes by even where x itself needs none
        self.anchor = torch.zeros((), requires_grad=True, device=device)


class _Product(NamedTuple):
    """What `_with_lora` computes on its way, for the gradients."""

    y: torch.Tensor  # (T, out)
    stretches: Stretches
    padded: torch.Tensor  # (N, M, in)
    mask: torch.Tensor | None
    u: torch.Tensor  # (N, M, R)
    a: torch.Tensor  # (N, R, in)
    b: torch.Tensor  # (N, R, out)


def _with_lora(x: torch.Tensor, frozen: Frozen, pack: Pack, site: Site, place: str) -> _Product:
    """x (T, in) through the frozen layer with every member's LoRA beside it."""
    layout, stretches = pack.store.layout, pack.stretches(len(x))
    a, b = layout.view(pack.weights, f"{site.name}.A"), layout.view(pack.weights, f"{site.name}.B")
    padded, mask = pack.padded(x, place)  # (N, M, in)
    u = torch.bmm(padded, a.transpose(1, 2))  # (N, M, R)
    u *= pack.scales[:, None, None]
    y = frozen.forward(x).add_(stretches.unpad(torch.bmm(u, b)))  # (T, out)
    return _Product(y, stretches, padded, mask, u, a, b)


class _LoraLinear(torch.autograd.Function):
    """The frozen layer with every member's LoRA beside it: x (T, in) -> y (T, out).

    With x~ the input after dropout, s = alpha / rank and u = s x~ A^T: y = x W^T + b + u B^T; dB^T = u^T g,
    gu = s g B, dA = gu^T x~, dx = g W + gu A * mask. The gradients of A and B are written to the pack.
    """

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, anchor: torch.Tensor, frozen: Frozen, pack: Pack, site: Site, place: str
    ) -> torch.Tensor:
        y, stretches, padded, mask, u, a, b = _with_lora(x, frozen, pack, site, place)
        ctx.frozen, ctx.pack, ctx.site, ctx.stretches = frozen, pack, site, stretches
        ctx.save_for_backward(padded, mask, u, a, b)
        return y

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, None, None, None, None, None]:
        padded, mask, u, a, b = ctx.saved_tensors
        pack, name, layout = ctx.pack, ctx.site.name, ctx.pack.store.layout
        g = ctx.stretches.pad(grads[0])  # (N, M, out)
        layout.view(pack.gradients, f"{name}.B").add_(torch.bmm(u.transpose(1, 2), g))  # (N, R, out)
        gu = torch.bmm(g, b.transpose(1, 2))  # (N, M, R)
        gu *= pack.scales[:, None, None]
        layout.view(pack.gradients, f"{name}.A").add_(torch.bmm(gu.transpose(1, 2), padded))  # (N, R, in)
        if not ctx.needs_input_grad[0]:
            return None, None, None, None, None, None
        delta = torch.bmm(gu, a)  # (N, M, in)
        if mask is not None:
            delta *= mask
        return ctx.frozen.backward(grads[0]).add_(ctx.stretches.unpad(delta)), None, None, None, None, None


class PackedLinear(nn.Module):
    """A frozen linear layer with the LoRA of every member of the current pack beside it.

    `place` names the input for dropout: layers with the same place that get the same tensor share a mask.
    """

    def __init__(self, base: nn.Linear, site: Site, context: PackContext, place: str | None = None) -> None:
        super().__init__()
        self.base = base
        self.site = site
        self.place = place or site.name
        self._frozen = Frozen(base)
        self._context = context

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(..., in) -> (..., out)."""
        pack = self._context.pack
        flat = x if x.ndim == 2 else x.flatten(0, -2)
        y: torch.Tensor
        if pack is None or not pack.members or f"{self.site.name}.A" not in pack.store.layout.slices:
            learning = torch.is_grad_enabled()
            y = FrozenLinear.apply(flat, self._frozen) if learning else self._frozen.forward(flat)
        elif not torch.is_grad_enabled():
            y = _with_lora(flat, self._frozen, pack, self.site, self.place).y
        else:
            y = _LoraLinear.apply(flat, self._context.anchor, self._frozen, pack, self.site, self.place)
        return y if x.ndim == 2 else y.view(*x.shape[:-1], -1)


class _FullLinear(torch.autograd.Function):
    """x W^T + b with each member's own W (N, out, in) and b, in fp32, gradients written to the pack."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, anchor: torch.Tensor, pack: Pack, site: Site) -> torch.Tensor:
        layout = pack.store.layout
        weight = layout.view(pack.exact, f"{site.name}.weight")
        stretches = pack.stretches(len(x))
        padded = stretches.pad(x.detach().float())  # (N, M, in)
        y = torch.bmm(padded, weight.transpose(1, 2))  # (N, M, out)
        if site.bias:
            y = y + layout.view(pack.exact, f"{site.name}.bias")
        ctx.pack, ctx.site, ctx.stretches = pack, site, stretches
        ctx.save_for_backward(padded, weight)
        return stretches.unpad(y)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, None, None, None]:
        padded, weight = ctx.saved_tensors
        pack, name, layout = ctx.pack, ctx.site.name, ctx.pack.store.layout
        g = ctx.stretches.pad(grads[0])
        layout.view(pack.gradients, f"{name}.weight").add_(torch.bmm(g.transpose(1, 2), padded))
        if ctx.site.bias:
            layout.view(pack.gradients, f"{name}.bias").add_(g.sum(1, keepdim=True))
        gx = ctx.stretches.unpad(torch.bmm(g, weight)) if ctx.needs_input_grad[0] else None
        return gx, None, None, None


class PackedFull(nn.Module):
    """A linear layer that every member trains whole (a classification head), computed in fp32."""

    def __init__(self, base: nn.Linear, site: Site, context: PackContext) -> None:
        super().__init__()
        self.base = base
        self.site = site
        self._context = context

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, in) -> (B, out), fp32."""
        pack = self._context.pack
        if pack is None:
            plain: torch.Tensor = self.base(x)
            return plain
        y: torch.Tensor = _FullLinear.apply(x, self._context.anchor, pack, self.site)
        return y


def wrap_linears(
    model: nn.Module,
    lora: Sequence[str],
    full: Sequence[str],
    context: PackContext,
    places: dict[str, str] | None = None,
    prefix: str = "",
) -> list[Site]:
    """Freeze `model`, put packed layers in place of the named linear ones, and return their sites.

    `lora` are the modules an adapter may target, `full` those it may train whole; the sites' names begin with `prefix`,
    which tells several models of one task apart. Raises TypeError for a module that is not linear.
    """
    model.requires_grad_(False)
    sites = []
    for name in [*lora, *full]:
        base = model.get_submodule(name)
        if not isinstance(base, nn.Linear):
            raise TypeError(f"{name} is a {type(base).__name__}: only linear layers carry LoRA")
        full_name, biased = prefix + name, base.bias is not None
        site = Site(full_name, base.in_features, base.out_features, full=name in full, bias=biased)
        place = (places or {}).get(name)
        packed = PackedFull(base, site, context) if site.full else PackedLinear(base, site, context, place)
        parent, _, leaf = name.rpartition(".")
        setattr(model.get_submodule(parent), leaf, packed)
        sites.append(site)
    return sites
