"""The part of a config that says how trials are scored: weights of the components and edges of their grades."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Annotated

from pydantic import Field, ValidationInfo, field_validator

from tuner.config_space import Flag, Frozen, Number, broken

Weight = Annotated[Number, Field(ge=0, le=1)]


class BandConfig(Frozen):
    """Edges between grades, from excellent|good over good|average to average|poor, and which way is better.

    A metric of which more is better is a share: its edges lie between 0 and 1. One of which less is better starts at 0.
    """

    excellent: Annotated[Number, Field(gt=0)]
    good: Annotated[Number, Field(gt=0)]
    average: Annotated[Number, Field(gt=0)]
    higher_is_better: Annotated[Flag, Field(validate_default=True)] = True

    @field_validator("higher_is_better")
    @classmethod
    def _ordered(cls, higher: bool, info: ValidationInfo) -> bool:
        edges = [info.data[name] for name in ("excellent", "good", "average") if name in info.data]
        way = "fall" if higher else "rise"
        if any((left <= right) if higher else (left >= right) for left, right in pairwise(edges)):
            rule = f"excellent, good, average must {way} in this order, and they are {edges}"
            raise broken(rule, "Reorder the edges, or say which way is better with higher_is_better.")
        if higher and any(edge >= 1 for edge in edges):
            raise broken(f"edges must lie below 1 where more is better, and they are {edges}", "Use shares of 1.")
        return higher


class GradeScores(Frozen):
    """What each grade scores, from excellent down to poor. The continuous score runs through the middles between them:
    with the defaults it is 0.9, 0.7 and 0.5 at a band's edges."""

    excellent: Weight = 1.0
    good: Weight = 0.8
    average: Weight = 0.6
    poor: Annotated[Weight, Field(validate_default=True)] = 0.4

    @field_validator("poor")
    @classmethod
    def _falling(cls, poor: float, info: ValidationInfo) -> float:
        scores = [info.data[name] for name in ("excellent", "good", "average") if name in info.data] + [poor]
        if any(better <= worse for better, worse in pairwise(scores)):
            rule = f"excellent, good, average, poor must fall in this order, and they are {scores}"
            raise broken(rule, "1.0, 0.8, 0.6, 0.4 is the default.")
        return poor


class ScoreConfig(Frozen):
    """Weights of the overall tuning score (they sum to 1), what grades score, and bands that differ from the task's."""

    efficiency_weight: Weight = 0.2
    quality_weight: Weight = 0.4
    preservation_weight: Annotated[Weight, Field(validate_default=True)] = 0.4
    grades: GradeScores = GradeScores()
    bands: dict[str, BandConfig] = Field(default_factory=dict)

    @field_validator("bands")
    @classmethod
    def _less_is_efficient(cls, bands: dict[str, BandConfig]) -> dict[str, BandConfig]:
        if "efficiency" in bands and bands["efficiency"].higher_is_better:
            raise broken("efficiency is MB a step, of which fewer are better", "Add higher_is_better: false.")
        return bands

    @field_validator("preservation_weight")
    @classmethod
    def _sum_to_one(cls, weight: float, info: ValidationInfo) -> float:
        others = [info.data[name] for name in ("efficiency_weight", "quality_weight") if name in info.data]
        total = sum(others) + weight
        if len(others) == 2 and not math.isclose(total, 1.0, abs_tol=1e-6):
            raise broken(f"the three weights must sum to 1, and they sum to {total:g}", "0.2, 0.4, 0.4 is the default.")
        return weight
