"""Adam's moments in 8 bits: 2.03 bytes a trainable number instead of 8, for every slot of the parameter store.

Blocks of 256 numbers share one fp32 scale, their largest magnitude, and each number is the nearest of 255 shares of it
(block-wise dynamic quantisation, Dettmers et al. 2021, arXiv:2110.02861): 2 * (1 + 4 / 256) bytes. For a step one
adapter's moments are spread out in fp32, and put back. All in plain PyTorch, so that every device has it and a run
needs no other package.

Two things differ from the paper's maps, which are those of bitsandbytes. The signed map is symmetric, so that a
block's largest number is always kept exactly: to spread out and to put back again then changes no bit, and a
checkpoint, which holds fp32 numbers, resumes exactly. The second moment's map is the square of the paper's, since Adam
divides by the root; and what is not zero never becomes zero, which would make a step of m / epsilon.

The layout starts every tensor at a multiple of `BLOCK`. A block then never depends on the rank that other adapters pad
a row to: padding is zero, and comes last. What company does change is the last bit of a gradient, which may tip a
moment over to the neighbouring share, a few hundredths of it away: in 8 bits a trial learns nearly what it would alone,
where in fp32 it is the same to 1e-5.
"""

from __future__ import annotations

import torch

BLOCK = 256  # numbers that share a scale
_DECADES = 7
# A scale below this counts as zero: a moment of its block moves no weight beside Adam's epsilon, 1e-8, and its smallest
# share would leave the range where fp32 has all its digits.
_LEAST = 1e-24


def _dynamic_map(steps_of_first_decade: int) -> torch.Tensor:
    """Shares in (0, 1], seven decades, each with twice as many as the one below: the middles of equal steps of the
    decade, the last of them moved to 1. fp32, ascending."""
    shares: list[torch.Tensor] = []
    for number in range(_DECADES):
        edges = torch.linspace(0.1, 1, steps_of_first_decade * 2**number + 1, dtype=torch.float64)
        shares.append((edges[:-1] + edges[1:]) / 2 * 10.0 ** (number - _DECADES + 1))
    found = torch.cat(shares)
    found[-1] = 1
    return found.float()


def signed_map() -> torch.Tensor:
    """255 shares in [-1, 1], symmetric, with zero."""
    positive = _dynamic_map(1)  # (127,)
    return torch.cat([-positive.flip(0), torch.zeros(1), positive])


def squared_map() -> torch.Tensor:
    """255 shares in [0, 1] for the second moment, with zero."""
    return torch.cat([torch.zeros(1), _dynamic_map(2).square()])  # (1 + 254,)


class Moments:
    """Rows of numbers (slots, size) in 8 bits, all zero at first; `size` is a multiple of `BLOCK`.

    `rows[slot]` is a copy of one row in fp32 (size,), `rows[slot] = row` keeps it. `shares` are the map, ascending.
    """

    def __init__(self, slots: int, size: int, shares: torch.Tensor, device: torch.device) -> None:
        self._shares = shares.to(device)
        between = (shares[:-1] + shares[1:]) / 2
        if shares[0] == 0:
            # nearest in the root, and zero for zero alone
            roots = shares.sqrt()
            between = ((roots[:-1] + roots[1:]) / 2).square()
            between[0] = 0
        self._between = between.to(device)
        self._codes = torch.zeros(slots, size, dtype=torch.uint8, device=device)
        self._scales = torch.zeros(slots, size // BLOCK, device=device)

    @property
    def nbytes(self) -> int:
        """Bytes that the rows take."""
        return self._codes.nbytes + self._scales.nbytes

    def __getitem__(self, slot: int) -> torch.Tensor:
        shares = self._shares.index_select(0, self._codes[slot].int()).view(-1, BLOCK)
        return shares.mul_(self._scales[slot][:, None]).flatten()

    def __setitem__(self, slot: int, row: torch.Tensor) -> None:
        blocks = row.view(-1, BLOCK)
        scales = blocks.abs().amax(1)
        self._scales[slot] = torch.where(scales >= _LEAST, scales, 0)
        relative = blocks / scales.clamp_min(_LEAST)[:, None]
        self._codes[slot] = torch.bucketize(relative, self._between, out_int32=True).flatten()
