"""A fourth task: which side of a line is a point on? It touches no line of the project."""

from __future__ import annotations

from tuner.config import BandConfig, StudyConfig
from tuner.tasks.task import Prepared, TaskSpec


def prepare(config: StudyConfig) -> Prepared:
    """Points on a grid; nothing can be wrong with them."""
    points = [(x / 8 - 1, y / 8 - 1) for x in range(17) for y in range(17) if (x + y) % 2]
    rows = {"train": len(points) - 48, "validation": 24, "test": 24}
    return Prepared(points, {"splits": {split: {"total_samples": count} for split, count in rows.items()}})


SPEC = TaskSpec(
    name="line",
    title="A line through a plane",
    quality="right",
    preservation="kept",
    bands={
        "quality": BandConfig(excellent=0.9, good=0.8, average=0.7),
        "preservation": BandConfig(excellent=0.9, good=0.8, average=0.7),
    },
    bases={"plane": "plane"},
    default_space="plane",
    preparation=f"{__name__}:prepare",
    implementation=f"{__name__}.heavy:LineTask",
    hyperparameters={"slope": 1.0},
)
