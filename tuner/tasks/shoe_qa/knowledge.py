"""The project's own question-answer rows on footwear mildew: see data/README.md."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from tuner.bases.shoe_chat import corpus
from tuner.data.chat import ChatRow, ChatSplits, Turn

FOLDER = Path(__file__).parent / "data"
CATEGORIES = (
    "mold_basics", "environment", "material_effects", "storage_care", "use_cleaning",
    "shoe_effects", "odour_senses", "health_effects", "part_specific", "performance_effects",
)  # fmt: skip


def embedded_splits() -> ChatSplits:
    """All rows, each split in its file's order."""
    return ChatSplits(_rows("train"), _rows("validation"), _rows("test"))


def known_texts(rows: Sequence[ChatRow]) -> Iterator[str]:
    """Texts that are known to be well written: the project's corpus, and these rows."""
    yield from corpus.texts(corpus.read())
    for row in rows:
        yield from (row.question, row.answer)


def _rows(split: str) -> tuple[ChatRow, ...]:
    path = FOLDER / f"{split}.jsonl"
    found = (json.loads(line) for line in path.read_text(encoding="utf-8").splitlines())
    return tuple(
        ChatRow(
            turns=(Turn("user", row["question"]),),
            answer=row["answer"],
            key_facts=tuple(row["key_facts"]),
            category=row["category"],
            level=row["level"],
            where=f"{path.name} line {number}",
        )
        for number, row in enumerate(found, 1)
    )
