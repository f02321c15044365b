"""The task "nothing" can be found by its name, and all tests on Ray share one Ray."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tuner import tasks


@pytest.fixture(autouse=True)
def task_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Extend the path on which tasks are found, as a user's own package would."""
    monkeypatch.setattr(tasks, "__path__", [*tasks.__path__, str(Path(__file__).parent / "tasks")])


@pytest.fixture(scope="session")
def on_ray() -> Iterator[None]:
    """Ray on this machine, started once."""
    from cluster.connect import connected

    with connected():
        yield
