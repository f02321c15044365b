"""Continuous generation: texts of many adapters are written together, and come and go at any step.

Those that have come since the last step are read first, together, as ragged rows; then every text gets one more token.
A text that ends leaves at once. The texts of one adapter lie next to each other in every forward, so that a pack has
each adapter once, however many texts it writes.

What a text says depends on its own prompt, adapter and seed alone, up to the rounding of products whose shapes differ:
in fp32 it is the one that `generate` writes, but for exact ties.

One rectangle holds all keys and values, as long as the longest text may become: `room` bounds its tokens. Who comes
when it is full waits in line, and nobody overtakes. Knows nothing of text: whoever asks is told each token, and says
whether it was the last.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import groupby

import torch

from tuner.errors import EngineError
from tuner.lora.choice import Chooser, choose
from tuner.lora.decoder import RaggedDecoder
from tuner.lora.packed import Pack, PackContext
from tuner.lora.ragged import LANES, Ragged
from tuner.lora.slots import Slots, padded
from tuner.lora.table import AdapterTable, Resident
from tuner.lora.taste import GREEDY, Taste

TEXTS = 256  # written at once
READ = 2048  # tokens of prompts in one step, or one prompt: those that are being written wait no longer


@dataclass(eq=False)
class Text:
    """A text to be written after `prompt`: `limit` tokens at most. `hear` is told every token but the one that ends the
    text by itself, and answers whether the text ends there. `cancelled` is asked before every step. `ended` is called
    once: with "stop" or "length", with an error, or with None for a text that was cancelled."""

    prompt: Sequence[int]
    adapter: Resident
    limit: int
    hear: Callable[[int], bool]
    ended: Callable[[str | Exception | None], None]
    taste: Taste = GREEDY
    cancelled: Callable[[], bool] = lambda: False
    chooser: Chooser = field(init=False)
    written: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self.chooser = Chooser(self.taste)

    @property
    def columns(self) -> int:
        """What it takes of the cache at most. The last token is never read."""
        return padded(len(self.prompt) + self.limit - 1)


class Writer:
    """Writes texts on one decoder with the adapters of one table. Used by one thread. `stop` are the tokens that end a
    text by themselves."""

    def __init__(
        self, decoder: RaggedDecoder, context: PackContext, table: AdapterTable, stop: Collection[int], room: int
    ) -> None:
        self.decoder, self.context, self.table = decoder, context, table
        self.stop = frozenset(stop)
        # whole lanes, as texts are padded to: what `fits` lets in then always finds room
        self.room = room // LANES * LANES
        self._device = decoder.head.device
        self._waiting: deque[Text] = deque()
        self._coming: list[Text] = []  # from the line, to be read in this step
        self._cache = Slots(self._device)
        self._texts: list[Text] = []  # one a slot of the cache
        self._last: list[int] = []  # the last token of each
        self._order: list[int] | None = None  # slots as steps bring them, by adapter; None after a change
        self._pack: Pack | None = None
        self._counts: list[int] = []

    @property
    def busy(self) -> bool:
        """Whether texts wait or are being written."""
        return bool(self._waiting or self._coming or self._texts)

    def fits(self, prompt: int, limit: int) -> bool:
        """Whether a text of so many tokens, and as many to come, can ever be written."""
        return padded(prompt + limit - 1) <= self.room

    def add(self, text: Text) -> None:
        """Put a text in line. It must fit."""
        self._waiting.append(text)

    @torch.inference_mode()
    def step(self) -> int:
        """Read those that come, and write one more token of every text; how many texts took part."""
        self._forget_cancelled()
        self._coming = self._next()
        count = len(self._texts) + len(self._coming)
        if self._coming:
            self._read(self._coming)
        if self._texts:
            self._write()
        return count

    def abandon(self, error: Exception) -> None:
        """End every text with this error."""
        texts = [*self._texts, *self._coming, *self._waiting]
        self._texts, self._coming, self._last, self._order = [], [], [], None
        self._waiting.clear()
        self._cache = Slots(self._device)
        for text in texts:
            text.ended(error)

    def _forget_cancelled(self) -> None:
        waiting, self._waiting = self._waiting, deque()
        gone: list[Text] = []
        for text in waiting:
            (gone if text.cancelled() else self._waiting).append(text)
        for slot in reversed(range(len(self._texts))):
            if self._texts[slot].cancelled():
                gone.append(self._texts[slot])
                self._leave(slot)
        for text in gone:
            text.ended(None)

    def _next(self) -> list[Text]:
        """Those from the head of the line that can be read now, adapter by adapter."""
        new: list[Text] = []
        columns, tokens = max((text.columns for text in self._texts), default=0), 0
        while self._waiting and len(self._texts) + len(new) < TEXTS:
            text = self._waiting[0]
            longest = max(columns, text.columns)
            tokens += len(text.prompt)
            if (len(self._texts) + len(new) + 1) * longest > self.room or (new and tokens > READ):
                break
            columns = longest
            new.append(self._waiting.popleft())
        return sorted(new, key=lambda text: text.adapter.row)

    def _read(self, new: Sequence[Text]) -> None:
        """Read prompts and choose the first token of each; those that do not end with it are written from now on."""
        lengths = [len(text.prompt) for text in new]
        columns = max(text.columns for text in (*self._texts, *new))
        ragged = Ragged(lengths, self._device)
        ids = torch.tensor([token for text in new for token in text.prompt], device=self._device)
        pack, groups = self._packed(new)
        pack.bring([len(group) for group in groups], [sum(len(text.prompt) for text in group) for group in groups])
        self._cache.join(lengths, columns, min(TEXTS, self.room // columns))
        with self._wearing(pack):
            hidden = self.decoder.hidden(ids, ragged, self._cache)
        last = torch.tensor(lengths, device=self._device).cumsum(0) - 1
        tokens = choose(self.decoder.logits(hidden[last]), [text.chooser for text in new])
        self._cache.joined()
        start = len(self._texts)
        self._texts += new
        self._coming = []
        self._last += [0] * len(new)
        self._order = None
        self._tell(dict(zip(range(start, len(self._texts)), tokens, strict=True)))

    def _write(self) -> None:
        """One more token of every text."""
        if self._order is None:
            self._order = sorted(range(len(self._texts)), key=lambda slot: self._texts[slot].adapter.row)
            self._pack, groups = self._packed([self._texts[slot] for slot in self._order])
            self._counts = [len(group) for group in groups]
            self._cache.arrange(self._order)
        assert self._pack is not None
        self._pack.bring(self._counts)
        ids = torch.tensor([self._last[slot] for slot in self._order], device=self._device)
        with self._wearing(self._pack):
            hidden = self.decoder.step(ids, self._cache)
        tokens = choose(self.decoder.logits(hidden), [self._texts[slot].chooser for slot in self._order])
        self._tell(dict(zip(self._order, tokens, strict=True)))

    def _packed(self, texts: Sequence[Text]) -> tuple[Pack, list[list[Text]]]:
        """The adapters of these texts, which lie adapter by adapter, and the texts of each."""
        groups = [list(group) for _, group in groupby(texts, key=lambda text: text.adapter.row)]
        return self.table.pack([group[0].adapter for group in groups], self.decoder.dtype), groups

    def _tell(self, tokens: dict[int, int | None]) -> None:
        """Give texts their next token, by slot; those that end with it leave."""
        ends: list[tuple[Text, str | Exception]] = []
        for slot in sorted(tokens, reverse=True):  # the last first, since it takes the slot of one that leaves
            text, token = self._texts[slot], tokens[slot]
            end = self._end(text, token)
            if end is None:
                assert token is not None
                self._last[slot] = token
            else:
                ends.append((text, end))
                self._leave(slot)
        for text, found in ends:
            text.ended(found)

    def _end(self, text: Text, token: int | None) -> str | Exception | None:
        """How this token ends its text; None where it goes on."""
        if token is None:
            return EngineError("its numbers are not finite, so that no word can be chosen.")
        if token in self.stop:
            return "stop"
        text.written += 1
        try:
            stopped = text.hear(token)
        except Exception as error:
            return error
        if stopped:
            return "stop"
        return "length" if text.written == text.limit else None

    def _leave(self, slot: int) -> None:
        self._cache.leave(slot)
        self._texts[slot], self._last[slot] = self._texts[-1], self._last[-1]
        self._texts.pop()
        self._last.pop()
        self._order = None

    @contextmanager
    def _wearing(self, pack: Pack) -> Iterator[None]:
        self.context.pack = pack
        try:
            yield
        finally:
            self.context.pack = None
