"""Rows of different lengths without padding: tokens of all rows in one matrix (T, H), and attention that knows where
rows end.

Only attention sees rows as rectangles: rows of like length are gathered into groups, padded to a multiple of 32
positions, and computed by plain matrix products. On short rows this is several times faster on a CPU than the fused
kernel (scaled_dot_product_attention), and bf16 softmax over a multiple of 32 runs on whole vectors.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F

from tuner.device import fuses_attention

LANES = 32  # positions a group is padded to: one 512-bit vector of bf16


class Ragged:
    """B rows stacked as T tokens: where each starts, position ids, and the attention groups.

    `positions` (T,) counts from 0 in each row; `first` (B,) is the index of each row's first token; `row_of` (T,).
    """

    def __init__(self, lengths: Sequence[int], device: torch.device) -> None:
        self.lengths = tuple(lengths)
        self.device = device
        counts = torch.tensor(self.lengths)
        starts = counts.cumsum(0) - counts
        self.total = sum(self.lengths)
        self.row_of = torch.repeat_interleave(torch.arange(len(counts)), counts).to(device)
        self.positions = (torch.arange(self.total) - torch.repeat_interleave(starts, counts)).to(device)
        self.first = starts.to(device)
        self._counts, self._starts = counts, starts
        self._groups: tuple[int, list[Group], torch.Tensor, torch.Tensor] | None = None
        self._scratch = torch.empty(0, device=device)

    def means(self, hidden: torch.Tensor) -> torch.Tensor:
        """The mean over each row's tokens (T, H) -> (B, H), fp32."""
        summed = torch.zeros(len(self.lengths), hidden.shape[-1], device=self.device)
        summed.index_add_(0, self.row_of, hidden.float())
        return summed / torch.tensor(self.lengths, device=self.device)[:, None]

    def groups(self, heads: int) -> tuple[list[Group], torch.Tensor, torch.Tensor]:
        """The attention groups, and the way back from their stacked outputs: for each token and head (T * heads,),
        and for each row's first token and head (B * heads,) where only that one is asked for. Made once, shared by
        all layers."""
        if self._groups is None or self._groups[0] != heads:
            counts, starts = self._counts, self._starts
            padded = (counts + LANES - 1) // LANES * LANES
            groups, at, row_at = [], 0, 0
            back = torch.empty(self.total, heads, dtype=torch.long)
            back_first = torch.empty(len(counts), heads, dtype=torch.long)
            head = torch.arange(heads)
            for width in sorted(set(padded.tolist())):
                rows = torch.nonzero(padded == width).flatten()
                offset = torch.arange(width)
                inside = offset[None, :] < counts[rows, None]  # (R, L)
                # padding reads the row's own first token: finite wherever the row is, and masked
                token = starts[rows, None] + torch.where(inside, offset, 0)
                place = (torch.arange(len(rows))[:, None, None] * heads + head[:, None]) * width + offset  # (R, h, L)
                back[token[inside]] = at + place.transpose(1, 2)[inside]
                back_first[rows] = row_at + torch.arange(len(rows))[:, None] * heads + head
                at += place.numel()
                row_at += len(rows) * heads
                groups.append(Group(rows, token, inside, heads, self.device))
            self._groups = heads, groups, back.flatten().to(self.device), back_first.flatten().to(self.device)
        return self._groups[1:]

    def scratch(self, numbers: int, width: int, dtype: torch.dtype) -> torch.Tensor:
        """(numbers / width, width) to stack the groups' results in, the same memory at every call: it stays in the
        caches, and nothing is copied together."""
        if self._scratch.dtype != dtype or self._scratch.numel() < numbers:
            self._scratch = torch.empty(numbers, dtype=dtype, device=self.device)
        return self._scratch[:numbers].view(-1, width)


def in_chunks(lengths: Mapping[int, int], most: int) -> Iterator[list[int]]:
    """The keys of `lengths` in order of length, in chunks of at most `most` tokens together; a longer row is alone."""
    chunk: list[int] = []
    tokens = 0
    for index in sorted(lengths, key=lengths.__getitem__):
        if chunk and tokens + lengths[index] > most:
            yield chunk
            chunk, tokens = [], 0
        chunk.append(index)
        tokens += lengths[index]
    if chunk:
        yield chunk


class Group:
    """Rows of like length: how to read R rows of L positions out of (T * heads, d), head by head.

    `index` (R * h * L,) reads every position, `first` (R * h,) the first token of each row; `sizes` is (R, h, L).
    """

    def __init__(
        self, rows: torch.Tensor, token: torch.Tensor, inside: torch.Tensor, heads: int, device: torch.device
    ) -> None:
        head = torch.arange(heads)
        self.sizes = (len(rows), heads, token.shape[1])
        self.index = (token[:, None, :] * heads + head[:, None]).flatten().to(device)
        self.first = (rows[:, None] * heads + head).flatten().to(device)
        self.inside = inside.to(device)
        self.full = bool(inside.all())
        self._bias: torch.Tensor | None = None

    def bias(self, dtype: torch.dtype, causal: bool) -> torch.Tensor:
        """0 where a query may look, a large negative number elsewhere. (R * h, 1, L) with padding hidden; causal,
        (1, L, L): what comes later is hidden, and padding comes last."""
        if self._bias is None:
            zero = torch.zeros((), dtype=dtype, device=self.inside.device)
            hidden = torch.finfo(dtype).min / 2
            if causal:
                length = self.sizes[2]
                later = torch.ones(length, length, dtype=torch.bool, device=self.inside.device).triu(1)
                self._bias = torch.where(later, hidden, zero)[None]
            else:
                self._bias = torch.where(self.inside, zero, hidden).repeat_interleave(self.sizes[1], 0)[:, None, :]
        return self._bias

    def read(self, x: torch.Tensor) -> torch.Tensor:
        """(T, H) -> (R * h, L, d), one gather of d numbers a head and position."""
        rows, heads, length = self.sizes
        return torch.index_select(x.view(-1, x.shape[-1] // heads), 0, self.index).view(rows * heads, length, -1)

    def read_first(self, x: torch.Tensor) -> torch.Tensor:
        """(B, H) -> (R * h, 1, d)."""
        rows, heads, _ = self.sizes
        return torch.index_select(x.view(-1, x.shape[-1] // heads), 0, self.first).view(rows * heads, 1, -1)


class _RaggedAttention(torch.autograd.Function):
    """softmax(q k^T / sqrt(d)) v within each row; q, k, v (T, H) -> (T, H), with the backward written out.

    dV = P^T g, dP = g V^T, dS = P * (dP - sum(dP * P)), dQ = dS K / sqrt(d), dK = dS^T Q / sqrt(d).
    With `first_only`, q holds one query a row (B, H), that of its first token, and so does the result. With `causal`,
    a token looks at itself and those before it.
    """

    @staticmethod
    def forward(
        ctx: Any,
        q: torch.Tensor,
        k: torch.Tensor,
        v: torch.Tensor,
        ragged: Ragged,
        heads: int,
        scale: float,
        first_only: bool,
        causal: bool,
    ) -> torch.Tensor:
        groups, back, back_first = ragged.groups(heads)
        saved, d = [], q.shape[-1] // heads
        stack = _Stack(ragged, groups, d, q.dtype, first_only)
        for number, group in enumerate(groups):
            qh = group.read_first(q) if first_only else group.read(q)  # (R * h, Lq, d)
            kh, vh = group.read(k), group.read(v)  # (R * h, L, d)
            scores = torch.baddbmm(group.bias(q.dtype, causal), qh, kh.transpose(1, 2), alpha=scale)  # (R * h, Lq, L)
            p = torch.softmax(scores, -1)
            torch.bmm(p, vh, out=stack.part(number))
            saved += [qh, kh, vh, p]
        ctx.save_for_backward(*saved)
        ctx.ragged, ctx.heads, ctx.first_only, ctx.scale = ragged, heads, first_only, scale
        return stack.gathered(back_first if first_only else back, q.shape)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        heads, first_only, scale = ctx.heads, ctx.first_only, ctx.scale
        need_q, need_k, need_v = ctx.needs_input_grad[:3]
        groups, back, back_first = ctx.ragged.groups(heads)
        grad = grads[0].contiguous()
        size, d = (ctx.ragged.total, grad.shape[-1]), grad.shape[-1] // heads
        # the gradients of the scores come first, since all three results are stacked in the same scratch memory
        saved = ctx.saved_tensors  # asked for once: a checkpointed layer gives them only once
        parts = []  # (qh, kh, g, p, dS) of each group; dS is p where nobody asks for it
        for number, group in enumerate(groups):
            qh, kh, vh, p = saved[4 * number : 4 * number + 4]
            g = group.read_first(grad) if first_only else group.read(grad)  # (R * h, Lq, d)
            if not first_only and not group.full:  # padded queries have no gradient
                g.view(*group.sizes, d).mul_(group.inside[:, None, :, None])
            ds = p
            if need_q or need_k:
                dp = torch.bmm(g, vh.transpose(1, 2))
                ds = torch._softmax_backward_data(dp, p, -1, p.dtype).mul_(scale)
            parts.append((qh, kh, g, p, ds))
        queries = _Stack(ctx.ragged, groups, d, grad.dtype, first_only)
        every = _Stack(ctx.ragged, groups, d, grad.dtype, False)
        dq = dk = dv = None
        if need_v:
            for number, (_, _, g, p, _) in enumerate(parts):
                torch.bmm(p.transpose(1, 2), g, out=every.part(number))
            dv = every.gathered(back, size)
        if need_q:
            for number, (_, kh, _, _, ds) in enumerate(parts):
                torch.bmm(ds, kh, out=queries.part(number))
            dq = queries.gathered(back_first if first_only else back, grad.shape)
        if need_k:
            for number, (qh, _, _, _, ds) in enumerate(parts):
                torch.bmm(ds.transpose(1, 2), qh, out=every.part(number))
            dk = every.gathered(back, size)
        return dq, dk, dv, None, None, None, None, None


class _Stack:
    """Results of all groups, (R * h, L or 1, d) each, one after another in the scratch memory of a `Ragged`."""

    def __init__(self, ragged: Ragged, groups: Sequence[Group], d: int, dtype: torch.dtype, first_only: bool) -> None:
        self._sizes = [(rows * heads, 1 if first_only else length) for rows, heads, length in (g.sizes for g in groups)]
        self._ends = list(itertools.accumulate(rows * length for rows, length in self._sizes))
        self._memory = ragged.scratch(self._ends[-1] * d, d, dtype)

    def part(self, number: int) -> torch.Tensor:
        """Where the result of one group goes."""
        rows, length = self._sizes[number]
        end = self._ends[number]
        return self._memory[end - rows * length : end].view(rows, length, -1)

    def gathered(self, back: torch.Tensor, size: tuple[int, ...]) -> torch.Tensor:
        """A copy in the order of tokens or rows: (T, H) or (B, H)."""
        return torch.index_select(self._memory, 0, back).view(size)


def attention(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, ragged: Ragged, heads: int, *, first_only: bool = False
) -> torch.Tensor:
    """Bidirectional attention within each row: (T, H) -> (T, H), or (B, H) for the first token of each row."""
    scale = (q.shape[-1] // heads) ** -0.5
    out: torch.Tensor = _RaggedAttention.apply(q, k, v, ragged, heads, scale, first_only, False)
    return out


def causal_attention(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, ragged: Ragged, heads: int, scale: float
) -> torch.Tensor:
    """Attention of each token to itself and those before it in its row: q (T, h * d), k and v (T, g * d) with h a
    multiple of g (grouped queries) -> (T, h * d)."""
    if k.shape[-1] != q.shape[-1]:
        k, v = (_repeated(x, q.shape[-1] // heads, heads) for x in (k, v))
    q, k, v = q.contiguous(), k.contiguous(), v.contiguous()  # a model may cut all three out of one matrix
    if fuses_attention(q, max(ragged.lengths)):
        return _fused(q, k, v, ragged, heads, scale)
    out: torch.Tensor = _RaggedAttention.apply(q, k, v, ragged, heads, scale, False, True)
    return out


def _repeated(x: torch.Tensor, d: int, heads: int) -> torch.Tensor:
    """(T, g * d) -> (T, h * d): each of the g heads serves h / g queries."""
    shared = x.view(len(x), -1, 1, d)  # (T, g, 1, d)
    return shared.expand(-1, -1, heads // shared.shape[1], -1).reshape(len(x), -1)


def _fused(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, ragged: Ragged, heads: int, scale: float) -> torch.Tensor:
    """The same through PyTorch's fused kernel, which keeps no (L, L) matrix. Padding comes last, so that no token looks
    at it."""
    groups, back, _ = ragged.groups(heads)
    parts = []
    for group in groups:
        qh, kh, vh = (group.read(x).view(*group.sizes, -1) for x in (q, k, v))  # (R, h, L, d)
        parts.append(F.scaled_dot_product_attention(qh, kh, vh, is_causal=True, scale=scale).flatten(0, 2))
    return torch.index_select(torch.cat(parts), 0, back).view(q.shape)
