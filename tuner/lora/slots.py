"""Keys and values of texts that come and go: each has its own length, so that a new one may join at any step.

Texts lie from the left, one a slot, with no slot between them free: one that leaves gives its slot to the last, which
costs a copy of one row, and a new one takes the slot behind the last. Steps bring texts in an order of their own
(`arrange`); only the few numbers of one token are put into the slots' order and back.

What lies behind a text's end is zero at all times, so that it adds nothing to anybody's sums, whoever had the slot
before.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from tuner.lora.decoder import one_token_attention
from tuner.lora.ragged import LANES, Ragged


class Slots:
    """A `Cache` of texts of unequal lengths, (slots, g, columns, d) each in every layer. `lengths` (B,) is in the order
    last given to `arrange`."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.lengths = torch.zeros(0, dtype=torch.long, device=device)
        self._layers: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        self._slots = self._columns = 0
        self._held: list[int] = []  # tokens of the text in each slot
        self._joining: list[int] = []
        self._place: tuple[torch.Tensor, torch.Tensor] | None = None  # slot and column of each joining token
        self._to_slots: torch.Tensor | None = None  # None where the steps' order is that of the slots
        self._from_slots: torch.Tensor | None = None
        self._at: tuple[torch.Tensor, torch.Tensor] | None = None  # slot and column of a step's token
        self._bias: torch.Tensor | None = None

    def __len__(self) -> int:
        return len(self._held)

    def join(self, lengths: Sequence[int], columns: int, slots: int) -> None:
        """Make room for texts of these lengths, to be read next: `columns` tokens for the longest of all texts, and
        memory for up to `slots` texts, should it have to be found anew. They are there after `joined`."""
        wanted = len(self._held) + len(lengths)
        if wanted > self._slots or columns > self._columns:
            self._slots, self._columns = max(wanted, min(slots, 2 * wanted)), padded(columns)
            for number, (keys, values) in self._layers.items():
                # one layer after another: the old one's memory is free then
                self._layers[number] = self._moved(keys), self._moved(values)
        self._joining = list(lengths)
        self._place = None

    def fill(self, layer: int, key: torch.Tensor, value: torch.Tensor, ragged: Ragged) -> None:
        """Keep what the reading of those that join found: key and value (T, g, d)."""
        if self._place is None:
            self._place = ragged.row_of + len(self._held), ragged.positions
        if layer not in self._layers:
            size = (self._slots, key.shape[1], self._columns, key.shape[2])
            self._layers[layer] = key.new_zeros(size), value.new_zeros(size)
        for held, x in zip(self._layers[layer], (key, value), strict=True):
            held[self._place[0], :, self._place[1]] = x

    def joined(self) -> None:
        """Those that were read have the slots behind the last, in their order."""
        self._held += self._joining
        self._joining = []

    def arrange(self, slots: Sequence[int]) -> None:
        """The order in which steps bring the texts from now on: each text's slot."""
        self._to_slots = self._from_slots = None
        if list(slots) != list(range(len(slots))):
            self._from_slots = torch.tensor(slots, device=self.device)
            self._to_slots = torch.argsort(self._from_slots)
        self._prepare()

    def attend(
        self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float
    ) -> torch.Tensor:
        """See `Cache`."""
        assert self._at is not None
        if self._to_slots is not None:
            query, key, value = (x[self._to_slots] for x in (query, key, value))
        keys, values = self._layers[layer]
        keys[self._at[0], :, self._at[1]] = key
        values[self._at[0], :, self._at[1]] = value
        texts, seen = len(self._held), padded(max(self._held) + 1)
        if self._bias is None:  # of this step, for all layers: what lies behind a text's new token is hidden
            behind = torch.arange(seen, device=self.device) > self._at[1][:, None]
            bias = torch.zeros(behind.shape, dtype=query.dtype, device=self.device)
            self._bias = bias.masked_fill_(behind, torch.finfo(query.dtype).min / 2)[:, None, None]
        found = one_token_attention(query, keys[:texts, :, :seen], values[:texts, :, :seen], self._bias, scale)
        return found if self._from_slots is None else found[self._from_slots]

    def advance(self) -> None:
        """See `Cache`."""
        self._held = [length + 1 for length in self._held]
        self._prepare()

    def leave(self, slot: int) -> None:
        """Forget a text; the last one takes its slot. `arrange` comes before the next step."""
        last = len(self._held) - 1
        used = max(self._held[slot], self._held[last])
        for layer in self._layers.values():
            for held in layer:
                if slot != last:
                    held[slot, :, :used] = held[last, :, :used]
                held[last, :, :used] = 0
        self._held[slot] = self._held[last]
        self._held.pop()

    def _prepare(self) -> None:
        at = torch.tensor(self._held, dtype=torch.long, device=self.device)
        self._at = torch.arange(len(self._held), device=self.device), at
        self.lengths = at if self._from_slots is None else at[self._from_slots]
        self._bias = None

    def _moved(self, held: torch.Tensor) -> torch.Tensor:
        """The texts' keys or values in memory of the present size."""
        texts, used = len(self._held), max(self._held, default=0)
        room = held.new_zeros(self._slots, held.shape[1], self._columns, held.shape[3])
        room[:texts, :, :used] = held[:texts, :, :used]
        return room


def padded(columns: int) -> int:
    """Columns up to the next multiple of `LANES`: softmax runs on whole vectors."""
    return -(-columns // LANES) * LANES
