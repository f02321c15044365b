"""How fluent an answer is: the share of its runs of three words that are neither known nor likely.

A run *stumbles* when it stands in no text that is known to be well written (the project's corpus and the training rows)
and the frozen base finds it surprising as well. The base alone does not do: a small model writes garbled text that
small models find likely. Known texts alone do not do either: a large model writes good sentences that stand nowhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from zlib import crc32

from tuner.tasks.shoe_qa.words import spans

RUN = 3  # words
SURPRISING = 3.0  # nats a token, on average over a run: likelier than one in twenty is no stumble


@dataclass(frozen=True)
class Piece:
    """One token of a text: where it stands, and how surprising the base finds it, in nats."""

    start: int
    end: int
    nats: float


class Fluency:
    """Knows the runs of some texts. Knows no grammar."""

    def __init__(self, texts: Iterable[str]) -> None:
        # numbers in place of the runs themselves: a tenth of the memory, and one run in a thousand is known by mistake
        self._known = {number for text in texts for number, _, _ in _runs(text)}

    def stumbles(self, text: str, pieces: Sequence[Piece]) -> float:
        """The share of a text's runs that stumble, 0 to 1; 0 where it has none. `pieces` are its tokens in order."""
        runs = list(_runs(text))
        bad = 0
        for number, start, end in runs:
            if number not in self._known:
                met = [piece.nats for piece in pieces if piece.start < end and piece.end > start]
                bad += bool(met) and sum(met) / len(met) > SURPRISING
        return bad / len(runs) if runs else 0.0


def _runs(text: str) -> Iterable[tuple[int, int, int]]:
    """Each run of words: its number, where it starts and where it ends."""
    found = spans(text)
    for at in range(len(found) - RUN + 1):
        words = found[at : at + RUN]
        yield crc32(" ".join(word for word, _, _ in words).encode()), words[0][1], words[-1][2]
