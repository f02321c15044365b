"""Question answering as a service: one frozen causal language model, and every conversation that comes written by the
adapter it asks for, all of them in the same forwards (see `lora/writing.py`).

A conversation is tokenised when its job is admitted, behind the system prompt that its adapter was trained with where
it brings none; from then on it is a text like all others. Pieces are strings, but for the first, a `Begun`, which says
that the conversation was read and fits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tuner.bases.adapted import SavedAdapter, not_an_adapter
from tuner.bases.chat import ChatFormat
from tuner.bases.describe import BaseFacts, describe
from tuner.bases.four_bit import open_causal
from tuner.device import Device
from tuner.errors import BaseModelError
from tuner.lora.decoder import RaggedDecoder
from tuner.lora.decoder_layouts import decoder_layout
from tuner.lora.packed import PackContext, wrap_linears
from tuner.lora.saved import read_peft
from tuner.lora.speech import Speech
from tuner.lora.table import AdapterTable, Opened
from tuner.lora.writing import Text, Writer
from tuner.tasks.served import Job, ServedFacts
from tuner.tasks.shoe_qa.asking import AskChat, Begun, ChatAnswer, UnfitChatError
from tuner.tasks.shoe_qa.prepare import reach

LONGEST = 4096  # tokens of a conversation with its answer, where neither base nor adapter says
SHARE = 8  # keys and values take up to this part of the device's memory, an eighth
NEW = 256  # tokens of an answer by the base alone, where the request does not say


class ServedChat:
    """Implements `ServedBase`; an ask is an `AskChat`, the answer a `ChatAnswer`. Raises BaseModelError."""

    alone = True

    def __init__(self, facts: BaseFacts, device: Device, capacity: int) -> None:
        self.facts = ServedFacts.of(facts, device)
        self._chat = ChatFormat.open(facts)
        self._reach = reach(facts.config)
        layout = decoder_layout(facts.model_type)
        model: Any
        model, _ = open_causal(facts, device, False)
        context = PackContext(device.torch)
        modules = layout.modules(model.config.num_hidden_layers)
        sites = wrap_linears(model, modules, [], context, {name: layout.place(name) for name in modules})
        model = model.to(device=device.torch).eval()
        decoder = RaggedDecoder(model)
        self.table = AdapterTable(sites, device.torch, capacity)
        room = int(device.memory_mb * 2**20 / SHARE / decoder.token_bytes)
        self._writer = Writer(decoder, context, self.table, self._chat.stop, room)

    @classmethod
    def serve(cls, base_model: str, revision: str | None, device: Device, capacity: int) -> ServedChat:
        """The base on a device, with room for `capacity` bytes of adapters."""
        return cls(describe(base_model, revision), device, capacity)

    def open(self, folder: Path) -> Opened:
        """Read an adapter; see `ServedBase`."""
        saved = SavedAdapter.open(folder)
        try:
            task, longest, new = (saved.details[name] for name in ("task", "max_length", "new_tokens"))
            if task != "shoe_qa":
                raise ValueError(f"it is of the task {task!r:.40}")
            if not all(isinstance(each, int) and each > 0 for each in (longest, new)):
                raise ValueError(f"it reads {longest!r:.40} tokens and writes {new!r:.40}")
            details = {"max_length": longest, "new_tokens": new, "system": str(saved.details.get("system", ""))}
        except (LookupError, TypeError, ValueError) as error:
            raise not_an_adapter(folder, error) from error
        saved.check_base(self.facts.name, self.facts.revision)
        return read_peft(folder, list(self.table.sites.values()), details)

    def context(self, details: Mapping[str, Any]) -> int:
        """Tokens of a conversation with its answer: what the base reaches; where its config does not say, what the
        adapter was trained to read."""
        return self._reach or int(details.get("max_length", LONGEST))

    def prompt(self, turns: Sequence[Mapping[str, str]], details: Mapping[str, Any]) -> list[int]:
        """Tokens of a conversation as an adapter of these details reads it. Any thread may ask. Raises UnfitChatError
        if the base's chat template refuses it."""
        system = details.get("system", "")
        if system and all(turn["role"] != "system" for turn in turns):
            turns = [{"role": "system", "content": system}, *turns]
        try:
            return self._chat.prompt(turns)
        except BaseModelError as error:
            raise UnfitChatError(str(error), "invalid_messages") from error

    def canary(self) -> AskChat:
        """A question about shoes."""
        return AskChat(({"role": "user", "content": "鞋子發霉怎麼辦？ My shoes smell of mold: what helps?"},), 16)

    def sound(self, answer: ChatAnswer) -> bool:
        """Whether anything was said. (Numbers that are not finite end a job with an error.)"""
        return bool(answer.text)

    @property
    def busy(self) -> bool:
        """Whether answers are being written, or wait."""
        return self._writer.busy

    def admit(self, jobs: Sequence[Job]) -> None:
        """Read conversations, and put them in line."""
        for job in jobs:
            try:
                self._admit(job)
            except Exception as error:
                job.end(error)

    def step(self) -> int:
        """Read what has come, and write one more token of every answer."""
        return self._writer.step()

    def abandon(self, error: Exception) -> None:
        """See `ServedBase`."""
        self._writer.abandon(error)

    def _admit(self, job: Job) -> None:
        ask, details = job.ask, job.adapter.details
        prompt = self.prompt(ask.turns, details)
        limit = self._limit(ask, details, len(prompt))
        speech = Speech(self._decode, ask.stops)
        pieces: list[str] = []

        def say(piece: str) -> None:
            if piece:
                pieces.append(piece)
                if job.piece is not None:
                    job.piece(piece)

        def hear(token: int) -> bool:
            say(speech.hear(token))
            return speech.stopped

        def ended(how: str | Exception | None) -> None:
            if not isinstance(how, str):
                job.end(how)
                return
            say(speech.end())
            finish = "stop" if speech.stopped else how
            job.end(ChatAnswer("".join(pieces), finish, len(prompt), len(speech.tokens)))

        if job.piece is not None:
            job.piece(Begun(len(prompt)))
        self._writer.add(Text(prompt, job.adapter, limit, hear, ended, ask.taste, lambda: job.cancelled))

    def _limit(self, ask: AskChat, details: Mapping[str, Any], prompt: int) -> int:
        """How many tokens an answer may have. Raises UnfitChatError where there is no room for them."""
        most = min(self.context(details), self._writer.room)
        asked = ask.limit or 1
        if prompt + asked > most:
            behind = f" and the answer may take {asked:,}" if ask.limit else ""
            raise UnfitChatError(
                f"This model's maximum context length is {most:,} tokens, and the messages have {prompt:,}{behind}. "
                "Shorten the messages or lower max_tokens.",
                "context_length_exceeded",
            )
        return ask.limit or min(int(details.get("new_tokens", NEW)), most - prompt)

    def _decode(self, tokens: Sequence[int]) -> str:
        said: str = self._chat.tokenizer.decode(list(tokens))
        return said
