"""What a study's winner answers to held-out rows, kept in results/<study>/outputs: outputs.json, pictures beside it.

Written once, when a study has its winner; read by reports and the live monitor. Knows nothing of what the answers mean.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tuner.errors import StoreError
from tuner.store.files import write_bytes, write_json

FILE = "outputs.json"
_PICTURE = re.compile(r"[\w.-]+\.png")


@dataclass(frozen=True)
class Output:
    """One held-out row and what was made of it. `name` as in "image_1.jpg" or "text_1"; `expected` is the right answer,
    `answer` the adapter's, `base_answer` the base's alone ("" where it cannot answer). `metrics` are plain floats, the
    task's measures among them; `base_metrics` are the same, measured on what the base alone makes of the row, and empty
    where it cannot answer. `key_facts` are what a right answer must hold, where the row names any, each with its
    alternatives joined by "|". `pictures` are PNG files by role: "expected", "base", "adapter"."""

    name: str
    input: str
    expected: str
    answer: str
    base_answer: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)
    pictures: Mapping[str, bytes] = field(default_factory=dict)
    base_metrics: Mapping[str, float] = field(default_factory=dict)
    key_facts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outputs:
    """All outputs of one adapter: of which trial, on which split."""

    trial_id: str
    split: str
    items: tuple[Output, ...]


def write_outputs(folder: Path, outputs: Outputs) -> None:
    """Save them in a study's folder in place of older ones. Raises StoreError when the disk refuses."""
    place = folder / "outputs"
    shutil.rmtree(place, ignore_errors=True)
    rows: list[dict[str, Any]] = []
    for number, item in enumerate(outputs.items, 1):
        files = {role: f"{number:04d}-{re.sub(r'[^a-z]', '', role)}.png" for role in item.pictures}
        for role, data in item.pictures.items():
            write_bytes(place / files[role], data)
        rows.append(
            {
                "name": item.name,
                "input": item.input,
                "expected": item.expected,
                "answer": item.answer,
                "base_answer": item.base_answer,
                "metrics": dict(item.metrics),
                "base_metrics": dict(item.base_metrics),
                "key_facts": list(item.key_facts),
                "pictures": files,
            }
        )
    write_json(place / FILE, {"trial_id": outputs.trial_id, "split": outputs.split, "items": rows})


def read_outputs(folder: Path, pictures: Collection[str] = ()) -> Outputs | None:
    """The outputs of a study, None if it has none, with the pictures of those named alone: all may be more than memory
    holds. A metric that was not finite is missing, as is a picture that is gone; a file from before the base was
    measured too has no `base_metrics`. Raises StoreError for a file that cannot be read."""
    path = folder / "outputs" / FILE
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        items = tuple(_item(path.parent, row, pictures) for row in found["items"])
        return Outputs(str(found["trial_id"]), str(found["split"]), items)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise StoreError(f"{path} cannot be read: {type(error).__name__}: {error}.") from error


def _item(folder: Path, row: Mapping[str, Any], wanted: Collection[str]) -> Output:
    pictures = {}
    for role, name in row.get("pictures", {}).items() if row["name"] in wanted else ():
        # a name from a file leads nowhere but to a picture in this folder
        if _PICTURE.fullmatch(name) and (folder / name).is_file():
            pictures[str(role)] = (folder / name).read_bytes()
    texts = {name: str(row[name]) for name in ("name", "input", "expected", "answer", "base_answer")}
    before = _finite(row.get("base_metrics", {}))
    facts = tuple(str(fact) for fact in row.get("key_facts", ()))
    return Output(**texts, metrics=_finite(row["metrics"]), pictures=pictures, base_metrics=before, key_facts=facts)


def _finite(metrics: Mapping[str, Any]) -> dict[str, float]:
    return {
        str(name): float(value)
        for name, value in metrics.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and value - value == 0
    }
