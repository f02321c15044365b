"""A short name for exactly these rows: SHA-256 over text and label, for resuming studies and for model cards.

`content` does not change when rows change places: it says whether two data sets hold the same rows. `sequence` does: it
says whether a seeded run would see the same rows in the same order. Neither depends on the file's place or format.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

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


def fingerprint(rows: Iterable[Row | Mapping[str, Any]]) -> Fingerprint:
    """Of rows of a classification task, or of any rows as mappings of plain values."""
    digests = [hashlib.sha256(_canonical(row)).digest() for row in rows]
    # Each digest has the same length, so that joining them is unambiguous.
    sequence = hashlib.sha256(b"".join(digests)).hexdigest()
    return Fingerprint(len(digests), hashlib.sha256(b"".join(sorted(digests))).hexdigest(), sequence)


def fingerprint_splits(splits: Splits) -> dict[str, Fingerprint]:
    """Of train, validation and test, by name."""
    return {split: fingerprint(rows) for split, rows in splits.named().items()}


def _canonical(row: Row | Mapping[str, Any]) -> bytes:
    value = {"text": row.text, "label": row.label} if isinstance(row, Row) else dict(row)
    # surrogatepass: a lone surrogate is a row like any other here
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=str)
    return text.encode("utf-8", "surrogatepass")
