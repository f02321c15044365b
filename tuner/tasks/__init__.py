"""The tasks there are: every folder here whose package holds a `SPEC`. Adding a task is adding its folder."""

from __future__ import annotations

import importlib
import pkgutil

from tuner.errors import ConfigError, Problem
from tuner.tasks.task import TaskSpec


def names() -> list[str]:
    """Names of all tasks, sorted: the sub-packages of this one (tests extend `__path__`)."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if module.ispkg)


def spec(name: str) -> TaskSpec:
    """The light half of a task. Raises ConfigError for an unknown name."""
    if name not in names():
        raise ConfigError(Problem("task", name, "there is no such task", f"Use one of: {', '.join(names())}."))
    found: TaskSpec = importlib.import_module(f"{__name__}.{name}").SPEC
    return found
