"""The part of a config that says how a study's outputs are judged, when to sound an alert, and when rounds are enough.

Names of measures (visual, accuracy...) are the task's own: whether it has them is checked where the task is known, by
`score_benchmark.configured`.
"""

from __future__ import annotations

import math
import re
from typing import Annotated

from pydantic import Field, ValidationInfo, field_validator

from tuner.config_score import Weight
from tuner.config_space import Frozen, Number, Whole, broken

Positive = Annotated[Number, Field(gt=0)]
Share = Annotated[Number, Field(ge=0, le=1)]


class BenchmarkConfig(Frozen):
    """How outputs are judged one by one. `preset` names the task's weights, `weights` gives others (they sum to 1), and
    `reference` values to compare with; what is not named is the task's own. `items` is how many held-out rows are
    looked at; an output is excellent only up to `excellent_loss`, good only up to `good_loss`."""

    preset: str | None = None
    weights: dict[str, Weight] | None = None
    reference: dict[str, Number] = Field(default_factory=dict)
    excellent_loss: Positive = 0.5
    good_loss: Annotated[Positive, Field(validate_default=True)] = 0.7
    items: Annotated[Whole, Field(ge=1, le=10_000)] = 200

    @field_validator("good_loss")
    @classmethod
    def _above_excellent(cls, good: float, info: ValidationInfo) -> float:
        excellent = info.data.get("excellent_loss")
        if excellent is not None and good < excellent:
            raise broken(f"must not be below excellent_loss, which is {excellent:g}", "0.5 and 0.7 are the defaults.")
        return good

    @field_validator("weights")
    @classmethod
    def _sum_to_one(cls, weights: dict[str, float] | None) -> dict[str, float] | None:
        if weights is not None and not math.isclose(math.fsum(weights.values()), 1.0, abs_tol=1e-6):
            rule = f"the weights must sum to 1, and they sum to {math.fsum(weights.values()):g}"
            raise broken(rule, "Change them, or name a preset.")
        return weights


class AlertConfig(Frozen):
    """When to sound an alert. `below` holds a limit a measure, in place of the task's own. `no_progress_trials` is how
    many trials may end without a better score, `free_mb` the MB (2^20 bytes) of disk that should stay free. `webhook`
    is a URL that gets every alert as JSON; `$NAME` takes it from the environment, so that it is not saved."""

    total_loss_above: Positive = 0.8
    overall_below: Share = 0.4
    below: dict[str, Number] = Field(default_factory=dict)
    failed_share: Share = 0.25
    no_progress_trials: Annotated[Whole, Field(ge=1)] = 20
    free_mb: Annotated[Whole, Field(ge=0)] = 1000
    webhook: str | None = None

    @field_validator("webhook")
    @classmethod
    def _is_an_address(cls, webhook: str | None) -> str | None:
        if webhook is not None and not re.fullmatch(r"https?://[^\s/]\S*|\$[A-Za-z_]\w*", webhook):
            raise broken("must begin with http:// or https://, or be $NAME of an environment variable")
        return webhook


class RoundsConfig(Frozen):
    """When a series of studies has converged: every measure that `converged` or the task names has reached its value,
    the total loss `loss`, the overall score `overall`; or `most` rounds were run."""

    most: Annotated[Whole, Field(ge=1)] = 5
    loss: Positive = 0.4
    overall: Share = 0.7
    converged: dict[str, Number] = Field(default_factory=dict)
