"""StudyConfig: YAML and dashed overrides become one frozen, validated object, or every mistake at once.

Pydantic models hold the shape; `load_config` reads a file (no tags, no duplicate keys), applies overrides, and turns what
is wrong into `Problem`s. Knows nothing of models or devices: whether a base has the named target modules, or a
device is there, is checked by whoever owns that fact, still before a study launches.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class IntRange(_Frozen):
    """Whole numbers from low to high, both included; `log` searches orders of magnitude; `when` makes it conditional."""

    type: Literal["int"]
    low: int
    high: int
    step: int = 1
    log: bool = False
    when: dict[str, list[Any]] | None = None


class FloatRange(_Frozen):
    """Numbers from low to high; `log` searches orders of magnitude."""

    type: Literal["float"]
    low: float
    high: float
    log: bool = False
    when: dict[str, list[Any]] | None = None


class Choice(_Frozen):
    """One of the values, in no order. A value may be a list (target modules)."""

    type: Literal["choice"]
    values: list[Any]
    when: dict[str, list[Any]] | None = None


class Constant(_Frozen):
    """One value, not searched. In YAML simply the bare value."""

    type: Literal["constant"] = "constant"
    value: Any


SpaceEntry = Annotated[IntRange | FloatRange | Choice | Constant, Field(discriminator="type")]


class DataConfig(_Frozen):
    """Where the rows come from. `source` is "embedded", a file, a folder or a hub id; `train`, `validation`, `test` name
    files one by one instead. Splits that are missing are cut from train with `split_seed`."""

    source: str = "embedded"
    train: Path | None = None
    validation: Path | None = None
    test: Path | None = None
    columns: dict[str, str] = {}
    labels: dict[str, int] | None = None
    train_samples: int | None = None
    validation_samples: int | None = None
    test_samples: int | None = None
    validation_share: float = 0.15
    test_share: float = 0.15
    split_seed: int = 0
    max_length: int = 128


class AshaConfig(_Frozen):
    """ASHA: rungs at grace_epochs * reduction_factor ** k passes over the training rows; at each, the best 1/reduction_factor go on."""

    grace_epochs: float = 0.5
    reduction_factor: float = 3.0


class SearchConfig(_Frozen):
    """How the space is searched. `concurrent` None lets the engines decide; `time_budget_minutes` stops launching trials after it."""

    trials: int = 16
    seed: int = 0
    startup_trials: int = 6
    concurrent: int | None = None
    reports_per_epoch: int = 2
    asha: AshaConfig | None = AshaConfig()
    top_k: int = 3
    top_k_seeds: int = 3
    time_budget_minutes: float | None = None


class BandConfig(_Frozen):
    """Edges between grades, from excellent|good over good|average to average|poor, and which way is better."""

    excellent: float
    good: float
    average: float
    higher_is_better: bool = True


class ScoreConfig(_Frozen):
    """Weights of the overall tuning score (they sum to 1) and bands that differ from the task's own."""

    efficiency_weight: float = 0.2
    quality_weight: float = 0.4
    preservation_weight: float = 0.4
    bands: dict[str, BandConfig] = {}


class StudyConfig(_Frozen):
    """One study, complete and valid."""

    task: str
    name: str | None = None
    base_model: str
    revision: str | None = None
    data: DataConfig = DataConfig()
    space: dict[str, SpaceEntry]
    start_points: list[dict[str, Any]] = []
    search: SearchConfig = SearchConfig()
    score: ScoreConfig = ScoreConfig()
    devices: list[str] | Literal["auto"] = "auto"
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    results: Path = Path("results")
