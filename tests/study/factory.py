"""Configs and records for tests of the search: studies of the task "nothing" on the null engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tuner.config import StudyConfig

SPACE: dict[str, Any] = {
    "rank": {"type": "choice", "values": [2, 4, 8, 16]},
    "learning_rate": {"type": "float", "low": 1e-4, "high": 0.1, "log": True},
    "epochs": {"type": "int", "low": 1, "high": 4},
}
START = {"rank": 8, "learning_rate": 0.01, "epochs": 4}


def make_config(results: Path, *, space: dict[str, Any] | None = None, **changes: Any) -> StudyConfig:
    """A config of the task "nothing"; `changes` named search__x set search.x."""
    search: dict[str, Any] = {"trials": 8, "top_k": 2, "top_k_seeds": 2}
    search.update({name[8:]: changes.pop(name) for name in list(changes) if name.startswith("search__")})
    content = {
        "task": "nothing",
        "name": "s",
        "base_model": "none",
        "space": space or SPACE,
        "start_points": [START] if space is None else [],
        "search": search,
        "devices": ["cpu"],
        "results": results,
        **changes,
    }
    return StudyConfig.model_validate(content)
