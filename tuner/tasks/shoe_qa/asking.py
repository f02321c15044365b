"""What is asked of a served base for conversations, and what it answers. Imports no torch, so that routes may."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tuner.errors import TunerError
from tuner.lora.taste import GREEDY, Taste


@dataclass(frozen=True)
class AskChat:
    """A conversation to be answered: turns of "role" (system, user, assistant) and "content". `limit` tokens at most,
    as many as the adapter was trained to say where it is None; `stops` end the answer and are not part of it."""

    turns: tuple[Mapping[str, str], ...]
    limit: int | None = None
    stops: tuple[str, ...] = ()
    taste: Taste = GREEDY


@dataclass(frozen=True)
class Begun:
    """The first piece of an answer: its prompt has so many tokens."""

    prompt_tokens: int


@dataclass(frozen=True)
class ChatAnswer:
    """What was said. `finish` is "stop" or "length"; `written_tokens` leaves the one that ended the answer out."""

    text: str
    finish: str
    prompt_tokens: int
    written_tokens: int


class UnfitChatError(TunerError):
    """A conversation that cannot be answered, through a fault of the request: `status` says so to a server. `code` is a
    word for programs."""

    status = 400

    def __init__(self, message: str, code: str) -> None:
        self.code = code
        super().__init__(message)
