"""Which training pictures are kept for LoRA, with which captions, and the image folder they become.

A picture is kept for how well FashionCLIP finds it in its own prompt: one that its prompt does not describe teaches a
wrong word. Knows no model: prompts and similarities are given. Imports no torch.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tuner.store.files import write_bytes, write_json, write_text
from tuner.tasks.fashion.features import Feature
from tuner.tasks.fashion.replaced import replaced
from tuner.tasks.fashion.rows import PictureRow

KEPT_SHARE = 0.75
"""Of each class, the share that is kept. Similarities tell the odd picture surely and the others barely: leaving out a
quarter takes the odd ones, and half would take what a small set lives from. No option, lest it be one more
hyperparameter whose trial is a whole study."""
LEAST = 8
"""Pictures that are kept where there are so many, whatever the share: one batch of the default size."""
TABLE = "metadata.jsonl"
MARKER = ".samples.json"
"""Tells a folder of samples from anybody's pictures. Readers of pictures pass hidden files over."""


@dataclass(frozen=True)
class Sample:
    """A training picture in the words of a plan; the row's `repeats` say how often an epoch shows it so. `similarity`
    is the cosine of picture and prompt, NaN where it could not be measured."""

    row: PictureRow
    prompt: str
    features: tuple[Feature, ...]
    similarity: float

    @property
    def confidence(self) -> float:
        """The mean confidence of the features; 0 where there are none."""
        return math.fsum(each.confidence for each in self.features) / len(self.features) if self.features else 0.0

    def to_json(self, kept: bool) -> dict[str, Any]:
        """Plain values; null where nothing was measured."""
        return {
            "name": self.row.name,
            "caption": self.row.caption,
            "prompt": self.prompt,
            "similarity": round(self.similarity, 4) if math.isfinite(self.similarity) else None,
            "confidence": round(self.confidence, 4),
            "repeats": self.row.repeats,
            "kept": kept,
            "features": [asdict(each) for each in self.features],
        }


def choose(samples: Sequence[Sample]) -> list[Sample]:
    """The best of each class, in their order: `KEPT_SHARE` rounded up, so that no class is lost, and the next best of
    all up to `LEAST`. By similarity, of equals by confidence; what was not measured comes last. Rows without classes
    are one."""
    ranked = sorted(range(len(samples)), key=lambda place: _merit(samples[place]), reverse=True)
    classes: dict[str | None, list[int]] = {}
    for place in ranked:
        classes.setdefault(samples[place].row.label, []).append(place)
    kept = {place for places in classes.values() for place in places[: math.ceil(KEPT_SHARE * len(places))]}
    kept |= set([place for place in ranked if place not in kept][: max(LEAST - len(kept), 0)])
    return [samples[place] for place in sorted(kept)]


def _merit(sample: Sample) -> tuple[float, float]:
    measured = sample.similarity if math.isfinite(sample.similarity) else -math.inf
    return measured, sample.confidence


def tables(kept: Sequence[Sample], held_out: Mapping[str, Sequence[PictureRow]]) -> dict[str, list[dict[str, str]]]:
    """The lines of each split's metadata.jsonl: training pictures with their prompts, those of the other splits with
    their own captions. A picture that an epoch shows several times lies in a folder that says so."""
    lines = {"train": [_line(each.row, each.prompt, number) for number, each in enumerate(kept)]}
    return lines | {
        split: [_line(row, row.caption, number) for number, row in enumerate(rows)] for split, rows in held_out.items()
    }


def _line(row: PictureRow, text: str, number: int) -> dict[str, str]:
    folder = f"{row.repeats}_repeated/" if row.repeats > 1 else ""
    label = {"label": row.label} if row.label is not None else {}
    return {"file_name": f"{folder}{number:05}.png", "text": text, **label}


def same_samples(folder: Path, lines: Mapping[str, Sequence[Mapping[str, str]]]) -> bool:
    """Whether the folder is there with these lines. Its pictures come with it: the folder is written in one step."""
    try:
        return all((folder / split / TABLE).read_text(encoding="utf-8") == _text(each) for split, each in lines.items())
    except (OSError, ValueError):
        return False


def write_samples(
    folder: Path, lines: Mapping[str, Sequence[Mapping[str, str]]], rows: Mapping[str, Sequence[PictureRow]]
) -> None:
    """Write the image folder, in the place of one that was written so: FOLDER/{train,validation,test}/ with their
    pictures and metadata.jsonl. Raises StoreError as `replaced`."""
    with replaced(folder, MARKER) as fresh:
        write_json(fresh / MARKER, {split: len(each) for split, each in lines.items()})
        for split, each in lines.items():
            for line, row in zip(each, rows[split], strict=True):
                write_bytes(fresh / split / line["file_name"], row.png)
            write_text(fresh / split / TABLE, _text(each))


def _text(lines: Sequence[Mapping[str, str]]) -> str:
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
