"""Captioned pictures as rows: the type, a folder of them by split, and their fingerprint.

Knows nothing of how a folder is laid out. A row names its file and does not hold the pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tuner.data.fingerprint import Fingerprint, fingerprint
from tuner.data.image_findings import Finding


@dataclass(frozen=True, slots=True)
class ImageRow:
    """One picture. `repeats` is how often an epoch shows it, `label` the class its folder or row names, `pixels` the
    `pixel_hash` of the decoded picture."""

    path: Path
    caption: str
    repeats: int
    label: str | None
    pixels: str


@dataclass(frozen=True)
class ImageRows:
    """The rows of a folder; a split that has no folder of its own is None, and may be cut from `train`. `layouts`
    says per split where its captions come from: "metadata", "sidecar", "repeats" or "class"; `notes` are sentences for
    the log."""

    train: tuple[ImageRow, ...]
    validation: tuple[ImageRow, ...] | None
    test: tuple[ImageRow, ...] | None
    layouts: Mapping[str, str]
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]

    @property
    def rows(self) -> tuple[ImageRow, ...]:
        """Those of every split, train first."""
        return tuple(row for rows in self.named().values() for row in rows)

    def named(self) -> dict[str, tuple[ImageRow, ...]]:
        """The splits that are there by name, train first."""
        named = {"train": self.train, "validation": self.validation, "test": self.test}
        return {split: rows for split, rows in named.items() if rows is not None}


def fingerprint_images(rows: Sequence[ImageRow]) -> Fingerprint:
    """Of pixels, captions, repeats and labels; neither the names of the files nor their format counts."""
    return fingerprint(
        {"pixels": row.pixels, "caption": row.caption, "repeats": row.repeats, "label": row.label} for row in rows
    )
