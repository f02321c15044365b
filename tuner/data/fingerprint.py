"""A short name for exactly these rows: SHA-256 over all but their places, for resuming studies and for model cards.

`content` does not change when rows change places: it says whether two data sets hold the same rows. `sequence` does: it
says whether a seeded run would see the same rows in the same order. Neither depends on the file's place or format.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tuner.data.chat import ChatSplits
from tuner.data.chat_row import ChatRow
from tuner.data.classification import Row, Splits


@dataclass(frozen=True)
class Fingerprint:
    """SHA-256 in 64 hex digits each, and how many rows went in."""

    rows: int
    content: str
    sequence: str

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"rows": self.rows, "content": self.content, "sequence": self.sequence}


def fingerprint(rows: Iterable[Row | ChatRow | Mapping[str, Any]]) -> Fingerprint:
    """Of rows of a classification or a chat task, or of any rows as mappings of plain values."""
    digests = [hashlib.sha256(_canonical(row)).digest() for row in rows]
    # Each digest has the same length, so that joining them is unambiguous.
    sequence = hashlib.sha256(b"".join(digests)).hexdigest()
    return Fingerprint(len(digests), hashlib.sha256(b"".join(sorted(digests))).hexdigest(), sequence)


def fingerprint_splits(splits: Splits | ChatSplits) -> dict[str, Fingerprint]:
    """Of train, validation and test, by name."""
    return {split: fingerprint(rows) for split, rows in splits.named().items()}


def _canonical(row: Row | ChatRow | Mapping[str, Any]) -> bytes:
    # surrogatepass: a lone surrogate is a row like any other here
    text = json.dumps(_plain(row), sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=str)
    return text.encode("utf-8", "surrogatepass")


def _plain(row: Row | ChatRow | Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(row, Row):
        return {"text": row.text, "label": row.label}
    if isinstance(row, ChatRow):
        said = [[turn.role, turn.text] for turn in row.turns]
        about = {"key_facts": row.key_facts, "category": row.category, "level": row.level}
        return {"turns": said, "answer": row.answer, **about}
    return dict(row)
