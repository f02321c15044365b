"""The fingerprint of captioned pictures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tuner.data.image_rows import ImageRow, fingerprint_images


def row(pixels: int, label: str | None = None, caption: str = "a shoe") -> ImageRow:
    return ImageRow(Path(f"{pixels}.png"), caption, 1, label, f"{pixels:064x}")


def test_the_fingerprint_is_of_pixels_and_words_not_of_files() -> None:
    rows = [row(1), row(2)]
    known = fingerprint_images(rows)
    assert fingerprint_images([replace(rows[0], path=Path("other.jpg")), rows[1]]) == known
    assert fingerprint_images(rows[::-1]).content == known.content
    assert fingerprint_images(rows[::-1]).sequence != known.sequence
    others = [{"caption": "b"}, {"pixels": "0"}, {"repeats": 2}, {"label": "boot"}]
    changed = {fingerprint_images([replace(rows[0], **change), rows[1]]).content for change in others}
    assert len(changed - {known.content}) == 4


def test_the_fingerprint_stays_the_same_between_versions() -> None:
    """Studies on disk hold these: a change here breaks their resuming."""
    assert fingerprint_images([row(1)]).content.startswith("507932dcc4d6c87f2f199eb41b4575f0")
