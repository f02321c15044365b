"""One answer with all that was said before it, and what makes two of them the same.

Knows nothing of files or splits.
"""

from __future__ import annotations

from dataclasses import dataclass

from tuner.data.classification import identity
from tuner.data.language import detect_language


@dataclass(frozen=True, slots=True)
class Turn:
    """One thing said. `role` is "system", "user" or "assistant"; `text` has no space at its ends."""

    role: str
    text: str


@dataclass(frozen=True, slots=True)
class ChatRow:
    """One answer to learn or to compare with.

    `turns` is the prompt: perhaps a system's turn, then user and assistant by turns, a user's last. `key_facts` are
    what the answer must hold, each with its alternatives joined by "|". `where` is its place for a person: "qa.csv line
    12".
    """

    turns: tuple[Turn, ...]
    answer: str
    key_facts: tuple[str, ...] = ()
    category: str = ""
    level: str = ""
    where: str = ""

    @property
    def question(self) -> str:
        """What the user said last."""
        return self.turns[-1].text

    @property
    def language(self) -> str:
        """The language of question and answer together, as `detect_language` has it."""
        return detect_language((self.question, self.answer))


def asked(row: ChatRow) -> tuple[str, ...]:
    """What makes two rows ask the same: all that the user said. "And then?" alone is no question: after other
    questions it is another one."""
    return tuple(identity(turn.text) for turn in row.turns if turn.role == "user")


def sameness(row: ChatRow) -> frozenset[tuple[str, ...]]:
    """Two rows that share one of these must not stand in two splits: they ask the same, or give the same answer to the
    same last question, whatever was said before. Empty where the row has no question."""
    question, answer = identity(row.question), identity(row.answer)
    if not question:
        return frozenset()
    keys = {("asked", *asked(row))}
    if answer:
        keys.add(("answered", question, answer))
    return frozenset(keys)
