"""Tests of tuner/report/inference.py: does the saved adapter answer as it was trained to?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.store.factory import study
from tuner import tasks
from tuner.errors import StoreError, StudyError
from tuner.report.inference import infer, nothing_trained
from tuner.store.outputs import Output, Outputs, write_outputs


class Echo:
    """Answers each text with its last word."""

    def predict(self, inputs: Sequence[str]) -> list[dict[str, Any]]:
        return [{"label": 0, "word": text.split()[-1]} for text in inputs]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A study's folder whose task answers by `Echo`, with ten outputs, one of them of another mind."""
    spec = SimpleNamespace(predictor=lambda adapter: Echo(), answer="word")
    monkeypatch.setattr(tasks, "spec", lambda name: spec)
    items = [Output(f"text_{n}", f"number {n}", "", str(n) if n != 4 else "five") for n in range(10)]
    write_outputs(tmp_path, Outputs("t000", "test", tuple(items)))
    return tmp_path


def test_answers_are_compared_one_by_one(folder: Path) -> None:
    found = infer(folder, study())
    assert (found.answered, found.same, found.different) == (10, 9, ("text_4",))
    assert found.sound


def test_how_far_it_is_is_told(folder: Path) -> None:
    told: list[tuple[int, int]] = []
    infer(folder, study(), lambda done, total: told.append((done, total)))
    assert told == [(8, 10), (10, 10)]


def test_an_adapter_that_answers_otherwise_is_not_sound(folder: Path) -> None:
    items = [Output(f"text_{n}", f"number {n}", "", "positive") for n in range(10)]
    write_outputs(folder, Outputs("t000", "test", tuple(items)))
    found = infer(folder, study())
    assert found.same == 0
    assert not found.sound


def test_a_study_that_trained_nothing_has_nothing_to_compare() -> None:
    assert nothing_trained(study()) == ""
    assert nothing_trained(replace(study(), data={"trains": True})) == ""
    assert "trained nothing" in nothing_trained(replace(study(), data={"trains": False}))


def test_what_there_is_nothing_to_compare_with(folder: Path) -> None:
    with pytest.raises(StudyError, match="has no winner"):
        infer(folder, replace(study(), winner=None, state="interrupted"))
    (folder / "outputs" / "outputs.json").write_text("{")
    with pytest.raises(StoreError, match="cannot be read"):
        infer(folder, study())
    (folder / "outputs" / "outputs.json").unlink()
    with pytest.raises(StudyError, match="no outputs"):
        infer(folder, study())
