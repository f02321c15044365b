"""LoRA dropout whose masks are a function, not a state: (seed, step, site, element) -> keep or drop.

Each adapter in a pack keeps its own stream whatever its company, a resumed trial needs no generator state, and every
device draws the same masks. The function is the 32-bit finalizer of MurmurHash3 (Appleby, public domain) over a
counter; one hash serves four elements, a byte each, so a rate is rounded to 1/256 and the kept values are scaled by
the rounded rate.
"""

from __future__ import annotations

import zlib

import torch


def site_key(name: str) -> int:
    """A fixed number for the place in the model whose input is masked."""
    return zlib.crc32(name.encode())


def _signed(value: int) -> int:
    value &= 0xFFFFFFFF
    return value - (1 << 32) if value >= 1 << 31 else value


def mix(seed: int, step: int, site: int) -> int:
    """Fold the three into one 32-bit key, as a signed number (what an int32 tensor holds)."""
    key = 0
    for word in (seed, step, site):
        key = (key ^ (word & 0xFFFFFFFF)) * 0x9E3779B1 & 0xFFFFFFFF
        key ^= key >> 15
    return _signed(key)


def _finalize(h: torch.Tensor) -> torch.Tensor:
    # shifts of int32 are arithmetic: the masks clear what the sign bit drags in
    h ^= (h >> 16) & 0xFFFF
    h *= _signed(0x85EBCA6B)
    h ^= (h >> 13) & 0x7FFFF
    h *= _signed(0xC2B2AE35)
    h ^= (h >> 16) & 0xFFFF
    return h


def keep_masks(keys: torch.Tensor, rates: torch.Tensor, length: int, width: int, dtype: torch.dtype) -> torch.Tensor:
    """Scaled keep masks (N, length, width): 0 or 1/(1 - rate), one adapter a row of `keys` (N,) int32 and `rates` (N,).

    Element (n, t, w) depends on keys[n] and t * width + w only: not on N, nor on `length`.
    """
    words = -(-width // 4)
    counter = torch.arange(length * words, dtype=torch.int32, device=keys.device)
    counter = counter * _signed(0x9E3779B1)
    hashed = _finalize(counter[None, :] + keys[:, None])  # (N, length * words)
    drawn = hashed.view(torch.uint8).view(len(keys), length, words * 4)[..., :width]
    thresholds = (rates.float() * 256).round().clamp(max=255)  # a rate next to 1 still keeps something
    keep = (drawn >= thresholds.to(torch.uint8)[:, None, None]).to(dtype)
    return keep * (256.0 / (256.0 - thresholds)).to(dtype)[:, None, None]
