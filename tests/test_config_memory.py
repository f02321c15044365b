"""Tests of tuner/config_memory.py: what saves memory, as a config says it, and tasks that cannot save so."""

from __future__ import annotations

import pytest

from tests.test_config import VALID, problems
from tuner.config import MemoryConfig, StudyConfig
from tuner.config_memory import base_saver_problems


def test_nothing_is_saved_unless_asked_for() -> None:
    memory = StudyConfig.model_validate(VALID).memory
    assert memory == MemoryConfig(base_4bit=False, optimizer_8bit=False, checkpointing=False)
    asked = StudyConfig.model_validate({**VALID, "memory": {"checkpointing": True}}).memory
    assert asked == MemoryConfig(checkpointing=True)


@pytest.mark.parametrize(
    ("part", "place"), [({"base_4bit": "yes"}, "memory.base_4bit"), ({"base_8bit": True}, "memory.base_8bit")]
)
def test_what_cannot_be_is_named(part: dict[str, object], place: str) -> None:
    assert place in problems({**VALID, "memory": part})


def test_a_task_without_them_refuses_all_that_are_on() -> None:
    every = MemoryConfig(base_4bit=True, optimizer_8bit=True, checkpointing=True)
    found = [*base_saver_problems(every, "sentiment")]
    assert [problem.name for problem in found] == ["memory.base_4bit", "memory.checkpointing"]
    assert all("sentiment" in str(problem) and "Leave it out" in str(problem) for problem in found)
    assert [*base_saver_problems(MemoryConfig(optimizer_8bit=True), "sentiment")] == []
