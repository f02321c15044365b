"""Whether a study's saved adapter answers as the engine did that trained it: loaded afresh, as anybody would load it.

The engine answers in its own number format and batches, the saved adapter in plain PEFT and fp32; a few answers near a
tie may differ. Knows nothing of what an answer means, only whether two are the same text.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tuner import tasks
from tuner.errors import StudyError
from tuner.store.outputs import read_outputs
from tuner.store.records import StudyRecord

ALIKE = 0.9
"""So large a share of the answers should be the same; less means that something was lost on the way to the disk."""


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


def infer(folder: Path, record: StudyRecord) -> Inference:
    """Answer the rows of the study's outputs with its saved adapter. Raises StudyError if there is no winner or there
    are no outputs, StoreError if either cannot be read, BaseModelError for its base."""
    if record.winner is None:
        raise StudyError(f"study {record.name} is {record.state} and has no winner to infer with.")
    outputs = read_outputs(folder)
    if outputs is None or not outputs.items:
        raise StudyError(f"study {record.name} has left no outputs to compare with.")
    spec = tasks.spec(record.task)
    predictor = spec.predictor(folder / record.winner.adapter)
    answers = predictor.predict([item.input for item in outputs.items])
    different = tuple(
        item.name
        for item, answer in zip(outputs.items, answers, strict=True)
        if str(answer.get(spec.answer)) != item.answer
    )
    return Inference(len(answers), len(answers) - len(different), different)
