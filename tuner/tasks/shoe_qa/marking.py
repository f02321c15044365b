"""Marks for many answers at once: the rubric's four, and the overlap measures."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from tuner.data.chat import ChatRow
from tuner.tasks.shoe_qa.overlap import overlaps
from tuner.tasks.shoe_qa.rubric import completeness, key_data, readability, semantic
from tuner.tasks.shoe_qa.semantic import Semantics


class Marking:
    """Marks answers against the rows they answer. `encoder` as in `Semantics`."""

    def __init__(self, device: torch.device, dtype: torch.dtype, *, encoder: bool) -> None:
        self._semantics = Semantics(device, dtype, encoder=encoder)

    def mark(
        self, rows: Sequence[ChatRow], answers: Sequence[str], stumbles: Sequence[float]
    ) -> list[dict[str, float]]:
        """completeness, key_data, semantic and readability (0 to 10) and BLEU and ROUGE (0 to 100) of each answer.
        `stumbles` as in `rubric.readability`."""
        references = [row.answer for row in rows]
        alike = self._semantics.alike(answers, references)
        scored = overlaps(answers, references)
        return [
            {
                "completeness": completeness(answer, row.answer),
                "key_data": key_data(answer, row.answer, row.key_facts, row.question),
                "semantic": semantic(answer, row.answer, alike[at], row.question),
                "readability": readability(answer, row.answer, stumbles[at]),
                **scored[at],
            }
            for at, (row, answer) in enumerate(zip(rows, answers, strict=True))
        ]
