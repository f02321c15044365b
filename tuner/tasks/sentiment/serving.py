"""Sentiment as a service: one frozen encoder, and every text that waits answered in one forward, whichever adapters
are asked.

A step takes the texts that have queued, in the order they came, up to a budget of tokens. They run as ragged rows,
member by member (see `lora/packed.py`), so that the base sees one matrix and no padding; in fp32 an answer differs from
that of the adapter alone by rounding only.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tuner.bases.adapted import SavedAdapter, not_an_adapter
from tuner.bases.describe import BaseFacts, describe
from tuner.bases.load import load_classifier, load_tokenizer
from tuner.device import Device
from tuner.errors import BaseModelError, DataError, EngineError
from tuner.lora.encoder import RaggedEncoder
from tuner.lora.layouts import layout_of, lora_modules
from tuner.lora.packed import PackContext, wrap_linears
from tuner.lora.ragged import Ragged
from tuner.lora.saved import read_peft
from tuner.lora.table import AdapterTable, Opened, Resident
from tuner.tasks.sentiment.prepare import LABELS
from tuner.tasks.served import Job, ServedFacts

TOKENS = 4096  # of one forward: what comes after waits for the next, so that no batch of long texts holds up all
PADDED = 4 * TOKENS  # of one forward with every adapter's stretch as long as the longest (see `lora/packed.py`)
HEAD = 16  # characters for each token that is read: of a longer text, what is behind them is seldom looked at


@dataclass(frozen=True)
class Sentiment:
    """An answer: the label (from 0), the name that the training data gave it, and its probability."""

    label: int
    name: str
    probability: float


class ServedSentiment:
    """Implements `ServedBase`; an ask is a text, the answer a `Sentiment`. Raises BaseModelError."""

    alone = False  # without an adapter there is no head

    def __init__(self, facts: BaseFacts, device: Device, capacity: int) -> None:
        self.facts = ServedFacts.of(facts, device)
        self._device = device.torch
        model: Any = load_classifier(facts, LABELS)
        layout = layout_of(facts.model_type)
        modules = lora_modules(layout, getattr(model.config, "num_hidden_layers", 0))
        heads = [name for name, _ in layout.head if name.partition(".")[0] in layout.trained]
        self._context = PackContext(self._device)
        sites = wrap_linears(model, modules, heads, self._context)
        model.to(device=self._device, dtype=device.dtype).eval()
        self._encoder = RaggedEncoder(model)
        self._longest = int(getattr(model.config, "max_position_embeddings", 512)) - self._encoder.offset
        self._engine, self._side = _engine(facts)
        self._waiting: deque[tuple[Job, list[int]]] = deque()
        self._running: list[tuple[Job, list[int]]] = []
        self.table = AdapterTable(sites, self._device, capacity)

    @classmethod
    def serve(cls, base_model: str, revision: str | None, device: Device, capacity: int) -> ServedSentiment:
        """The base on a device, with room for `capacity` bytes of adapters."""
        return cls(describe(base_model, revision), device, capacity)

    def open(self, folder: Path) -> Opened:
        """Read an adapter; see `ServedBase`."""
        saved = SavedAdapter.open(folder)
        try:
            task, names, length = (saved.details[name] for name in ("task", "labels", "max_length"))
            if task != "sentiment":
                raise ValueError(f"it is of the task {task!r:.40}")
            if not isinstance(names, list) or len(names) != LABELS:
                raise ValueError(f"its labels are {names!r:.80}")
            if not isinstance(length, int) or length < 3:
                raise ValueError(f"it reads {length!r:.40} tokens")
        except (LookupError, TypeError, ValueError) as error:
            raise not_an_adapter(folder, error) from error
        saved.check_base(self.facts.name, self.facts.revision)
        sites = list(self.table.sites.values())
        return read_peft(
            folder, sites, {"labels": [str(name) for name in names], "max_length": min(length, self._longest)}
        )

    def canary(self) -> str:
        """A text."""
        return "The sole came off after a week."

    def sound(self, answer: Sentiment) -> bool:
        """Whether its probability is a number."""
        return math.isfinite(answer.probability)

    @property
    def busy(self) -> bool:
        """Whether texts wait."""
        return bool(self._waiting)

    def admit(self, jobs: Sequence[Job]) -> None:
        """Tokenise texts: those that are cut at one length, all at once."""
        groups: dict[Any, list[Job]] = {}
        for job in jobs:
            groups.setdefault(job.adapter.details.get("max_length"), []).append(job)
        read: dict[Job, list[int] | Exception] = {}
        for most, group in groups.items():
            try:
                found: list[list[int]] | list[list[int] | Exception] = self._read([job.ask for job in group], most)
            except Exception:  # the library raises bare Exceptions, and does not say for which text
                found = [self._read_one(job.ask, most) for job in group]
            read.update(zip(group, found, strict=True))
        for job in jobs:
            ids = read[job]
            if isinstance(ids, Exception):
                job.end(ids)
            else:
                self._waiting.append((job, ids))

    @torch.inference_mode()
    def step(self) -> int:
        """Answer what waits, up to the budget."""
        batch = self._running = self._taken()
        if not batch:
            return 0
        batch.sort(key=lambda each: each[0].adapter.row)
        residents: dict[int, Resident] = {}
        counts: dict[int, list[int]] = {}
        for job, ids in batch:
            residents[job.adapter.row] = job.adapter
            count = counts.setdefault(job.adapter.row, [0, 0])
            count[0] += 1
            count[1] += len(ids)
        pack = self.table.pack(list(residents.values()), self._encoder.dtype)
        pack.bring([rows for rows, _ in counts.values()], [tokens for _, tokens in counts.values()])
        ragged = Ragged([len(ids) for _, ids in batch], self._device)
        tokens = torch.tensor([token for _, ids in batch for token in ids], device=self._device)
        self._context.pack = pack
        try:
            logits = self._encoder.logits(self._encoder.hidden(tokens, ragged, first_only=True))  # (B, labels)
        finally:
            self._context.pack = None
        probabilities = logits.softmax(-1).tolist()
        self._running = []
        for (job, _), row in zip(batch, probabilities, strict=True):
            job.end(_answer(row, job.adapter.details["labels"]))
        return len(batch)

    def abandon(self, error: Exception) -> None:
        """End what waits, and what a forward that failed had taken."""
        jobs = [job for job, _ in (*self._running, *self._waiting)]
        self._running = []
        self._waiting.clear()
        for job in jobs:
            job.end(error)

    def _read(self, texts: Sequence[str], most: int) -> list[list[int]]:
        """Tokens of each text as the base's tokenizer cuts them at `most`."""
        self._engine.enable_truncation(most, direction=self._side)
        heads = [_head(text, HEAD * most) if self._side == "right" else text for text in texts]
        found = []
        for text, head, encoding in zip(texts, heads, self._engine.encode_batch_fast(heads), strict=True):
            ids: list[int] = encoding.ids
            if len(ids) < most and len(head) < len(text):
                ids = self._engine.encode(text).ids
            if not ids:
                raise DataError("The text holds nothing that the base reads.")
            found.append(ids)
        return found

    def _read_one(self, text: str, most: int) -> list[int] | Exception:
        try:
            return self._read([text], most)[0]
        except Exception as error:
            return error

    def _taken(self) -> list[tuple[Job, list[int]]]:
        """From the head of the line what one forward can hold, one text at least."""
        batch: list[tuple[Job, list[int]]] = []
        stretches: Counter[Resident] = Counter()  # tokens of each adapter
        while self._waiting:
            job, ids = self._waiting[0]
            if not job.cancelled:
                stretches[job.adapter] += len(ids)
                padded = len(stretches) * max(stretches.values())
                if batch and (stretches.total() > TOKENS or padded > PADDED):
                    break
                batch.append((job, ids))
            self._waiting.popleft()
            if job.cancelled:
                job.end(None)
        return batch


def _answer(probabilities: Sequence[float], names: Sequence[str]) -> Sentiment | EngineError:
    if not all(map(math.isfinite, probabilities)):
        return EngineError("its numbers are not finite.")
    label = max(range(len(probabilities)), key=probabilities.__getitem__)
    return Sentiment(label, names[label], probabilities[label])


def _engine(facts: BaseFacts) -> tuple[Any, str]:
    """A copy of the tokenizer's own engine, which reads many texts at once, and the side at which it cuts. Raises
    BaseModelError."""
    from tokenizers import Tokenizer

    tokenizer = load_tokenizer(facts)
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise BaseModelError(f"base_model = {facts.name!r}: its tokenizer has no fast form, tokenizer.json.")
    engine = Tokenizer.from_str(backend.to_str())
    engine.no_padding()
    return engine, tokenizer.truncation_side


def _head(text: str, characters: int) -> str:
    """The beginning of a text, up to a space or line end, which no token goes across; the whole text where none is
    near. (Other characters that count as space are to some tokenizers nothing at all.)"""
    if len(text) <= characters:
        return text
    for at in range(characters, characters // 2, -1):
        if text[at] in " \n" and not text[at - 1].isspace():
            return text[:at]
    return text
