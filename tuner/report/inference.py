"""Whether a study's saved adapter answers as the engine did that trained it: loaded afresh, as anybody would load it.

The engine answers in its own number format and batches, the saved adapter in plain PEFT and fp32; a few answers near a
tie may differ. Knows nothing of what an answer means, only whether two are the same text.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuner import tasks
from tuner.errors import StudyError
from tuner.store.outputs import read_outputs
from tuner.store.records import StudyRecord

ALIKE = 0.9
"""So large a share of the answers should be the same; less means that something was lost on the way to the disk."""
BATCH = 8
"""Rows answered between two words on how far it is: a drawn picture takes a fair part of a second."""


def nothing_trained(record: StudyRecord) -> str:
    """Why there is nothing to compare in a study that trained nothing, as a sentence; "" of one that trained. Its
    outputs come from what each row of the study shows, which nobody who types a prompt has."""
    if record.data.get("trains", True):
        return ""
    return f"study {record.name} trained nothing, so it has no adapter whose answers could differ from its training."


@dataclass(frozen=True)
class Inference:
    """`answered` rows were answered, `same` of them as the engine did; `different` names the others."""

    answered: int
    same: int
    different: tuple[str, ...]

    @property
    def sound(self) -> bool:
        """Whether the saved adapter is the one that was trained."""
        return self.same >= ALIKE * self.answered


def infer(
    folder: Path, record: StudyRecord, told: Callable[[int, int], object] = lambda done, total: None
) -> Inference:
    """Answer the rows of the study's outputs with its saved adapter. `told` hears again and again how many of how many
    rows are answered. Raises StudyError if there is no winner or there are no outputs, StoreError if either cannot be
    read, BaseModelError for its base."""
    if record.winner is None:
        raise StudyError(f"study {record.name} is {record.state} and has no winner to infer with.")
    outputs = read_outputs(folder)
    if outputs is None or not outputs.items:
        raise StudyError(f"study {record.name} has left no outputs to compare with.")
    spec = tasks.spec(record.task)
    predictor = spec.predictor(folder / record.winner.adapter)
    inputs = [item.input for item in outputs.items]
    answers: list[dict[str, Any]] = []
    while len(answers) < len(inputs):
        answers += predictor.predict(inputs[len(answers) : len(answers) + BATCH])
        told(len(answers), len(inputs))
    different = tuple(
        item.name
        for item, answer in zip(outputs.items, answers, strict=True)
        if str(answer.get(spec.answer)) != item.answer
    )
    return Inference(len(answers), len(answers) - len(different), different)
