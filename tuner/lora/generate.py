"""Greedy generation for a whole pack: every adapter answers its own prompts in the same forwards.

Prompts are read once, as ragged rows; then each step adds one token to every text that is still being written. Texts
that have ended leave the cache when a quarter of it is theirs. What an adapter writes depends on its own prompts alone,
up to the rounding of products whose shapes differ: in fp32 a packed answer equals the solo one but for exact ties.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch

from tuner.lora.decoder import KeyValues, RaggedDecoder
from tuner.lora.packed import Pack, PackContext
from tuner.lora.ragged import Ragged

TEXTS = 512  # written at once: more are no faster
CACHE = 2**31  # bytes that their keys and values may take: fewer texts are written at once where they are long


@dataclass(frozen=True)
class Written:
    """What was written after one prompt, without the stop token. `ended` says whether it stopped by itself; `seconds`
    from the start of its batch to its last token."""

    tokens: tuple[int, ...]
    ended: bool
    seconds: float


def generate(
    decoder: RaggedDecoder,
    context: PackContext,
    pack: Pack,
    prompts: Sequence[Sequence[int]],
    limit: int,
    stop: Collection[int],
) -> list[list[Written]]:
    """Each member's continuation of every prompt: `limit` tokens at most, greedily, until a token of `stop`. A pack
    without members is the base alone, and counts as one."""
    members = max(len(pack.members), 1)
    order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
    longest = max(map(len, prompts), default=0) + limit
    size = max(1, min(TEXTS, CACHE // (decoder.token_bytes * longest)) // members)
    found: list[dict[int, Written]] = [{} for _ in range(members)]
    for start in range(0, len(order), size):
        chunk = order[start : start + size]
        context.pack = pack
        try:
            written = _Batch(decoder, pack, members, [prompts[index] for index in chunk], limit, stop).run()
        finally:
            context.pack = None
        for number, text in enumerate(written):
            found[number // len(chunk)][chunk[number % len(chunk)]] = text
    return [[each[index] for index in range(len(prompts))] for each in found]


class _Batch:
    """The same prompts for every member, written to their ends."""

    def __init__(
        self,
        decoder: RaggedDecoder,
        pack: Pack,
        members: int,
        prompts: Sequence[Sequence[int]],
        limit: int,
        stop: Collection[int],
    ) -> None:
        self.decoder, self.pack, self.members, self.limit = decoder, pack, members, limit
        self.device = pack.store.device
        self.prompts = list(prompts) * members
        self.stop = torch.tensor(sorted(stop), dtype=torch.long, device=self.device)
        self.started = time.perf_counter()
        texts = len(self.prompts)
        self.tokens = torch.zeros(texts, limit, dtype=torch.long, device=self.device)
        self.lengths = [limit] * texts
        self.seconds = [0.0] * texts
        self.alive = torch.arange(texts, device=self.device)  # which texts the cache holds, member by member

    @torch.no_grad()
    def run(self) -> list[Written]:
        """Read the prompts, then write until all texts have ended."""
        lengths = [len(prompt) for prompt in self.prompts]
        ragged = Ragged(lengths, self.device)
        cache = KeyValues(lengths, self.limit, self.device)
        ids = torch.tensor([token for prompt in self.prompts for token in prompt], device=self.device)
        each = len(self.prompts) // self.members
        self._bring([each] * self.members, [sum(lengths[:each])] * self.members)
        hidden = self.decoder.hidden(ids, ragged, cache)
        last = ragged.first + torch.tensor(lengths, device=self.device) - 1
        self._bring([each] * self.members)
        chosen = self._choose(hidden[last])
        open_ = torch.ones(len(self.prompts), dtype=torch.bool, device=self.device)
        for column in range(self.limit):
            self.tokens[self.alive, column] = chosen
            ended = torch.isin(chosen, self.stop) & open_
            if bool(ended.any()):
                self._close(self.alive[ended].tolist(), column)
                open_ = open_ & ~ended
            left = int(open_.sum())
            if left == 0 or column + 1 == self.limit:
                break
            if left <= 0.75 * len(self.alive):
                rows = torch.nonzero(open_).flatten()
                cache.keep(rows)
                self.alive, chosen, open_ = self.alive[rows], chosen[rows], open_[rows]
            counts = torch.bincount(self.alive // each, minlength=self.members).tolist()
            self._bring(counts)
            chosen = self._choose(self.decoder.step(chosen, cache))
        now = time.perf_counter() - self.started
        kept = self.tokens.tolist()
        return [
            Written(tuple(row[:length]), length < self.limit or self.seconds[number] > 0, self.seconds[number] or now)
            for number, (row, length) in enumerate(zip(kept, self.lengths, strict=True))
        ]

    def _close(self, texts: Sequence[int], column: int) -> None:
        now = time.perf_counter() - self.started
        for text in texts:
            self.lengths[text], self.seconds[text] = column, now

    def _bring(self, rows: Sequence[int], tokens: Sequence[int] | None = None) -> None:
        if self.pack.members:
            self.pack.bring(rows, tokens)

    def _choose(self, hidden: torch.Tensor) -> torch.Tensor:
        return self.decoder.logits(hidden).argmax(-1)  # (B,)
