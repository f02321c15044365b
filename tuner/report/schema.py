"""The shape of training_report.json, as pydantic models; their JSON schema is published beside this file.

What was not measured is null. `TrainingReport.model_json_schema()` is the schema, saved as training_report.schema.json
by `python -m tuner.report.schema`. Knows nothing of how the content is found: `report/analysis.py` does.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from tuner.score import Grade
from tuner.score_benchmark import ItemWord

SCHEMA = Path(__file__).parent / "training_report.schema.json"

Measured = float | None
_FASHION = ("avg_total_loss", "avg_visual_similarity", "avg_fashion_clip_similarity", "avg_color_similarity")


class Part(BaseModel):
    """A part of the report: no unknown keys, no NaN."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class StudyPart(Part):
    """Which study this is. Times are seconds since the epoch."""

    name: str
    task: str
    base_model: str
    state: str
    created: float
    finished: Measured
    trials: dict[str, int] = Field(description="number of trials by state")
    command: str
    versions: dict[str, str]


class Distribution(BaseModel):
    """How many outputs have each grade; "unmeasured" where something that counts was not measured."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    excellent: int
    good: int
    average: int
    poor: int
    unmeasured: int = 0


class BenchmarkAnalysis(Part):
    """The outputs judged one by one. `source` says what was measured. `average_metrics` holds avg_total_loss and
    avg_<key> of every measure, `benchmark_comparison` measured minus reference as vs_reference_<name>."""

    source: str
    average_metrics: dict[str, Measured] = Field(json_schema_extra={"required": ["avg_total_loss"]})
    performance_distribution: Distribution | None
    benchmark_comparison: dict[str, Measured]
    weights: dict[str, float]
    grades: dict[str, Grade] = Field(description="grade of every average, by the measures' names, and of the loss")


class LoraTuning(Part):
    """The overall tuning score and its components. Each component holds what it is computed from under a name of the
    task's own, its grade, its continuous score and its graded score."""

    training_efficiency: dict[str, Measured | str] = Field(
        json_schema_extra={"required": ["efficiency_ratio", "grade", "score", "graded_score"]},
        description="efficiency_ratio in MB of adapter per training step",
    )
    generation_quality: dict[str, Measured | str] = Field(
        json_schema_extra={"required": ["grade", "score", "graded_score"]}
    )
    feature_preservation: dict[str, Measured | str] = Field(
        json_schema_extra={"required": ["grade", "score", "graded_score"]}
    )
    overall_tuning_score: Measured
    overall_graded_score: Measured
    overall_grade: Grade
    interval: tuple[float, float] | None = Field(description="95 % interval of the mean over seeds")
    weights: dict[str, float]


class MeasurePart(Part):
    """One measure by which outputs are judged."""

    name: str
    metric: str
    key: str
    title: str
    average: Measured
    grade: Grade
    reference: Measured
    weight: float
    alert_below: Measured


class ItemPart(Part):
    """One output."""

    name: str
    grade: ItemWord
    total_loss: Measured
    similarities: dict[str, Measured]
    input: str
    expected: str
    answer: str
    base_answer: str
    base_total_loss: Measured
    base_similarities: dict[str, Measured] = Field(description="of the base alone; empty where it was not measured")


class BeforeAfterPart(Part):
    """One metric of the base alone and of the adapter: means over the outputs where both have it, as it was measured
    (a measure's metric may run further than its similarity). `change_percent` in percent of `before`'s size."""

    metric: str
    title: str
    before: Measured
    after: Measured
    change_percent: Measured = Field(description="null where before is 0 or not known")
    better: Literal["higher", "lower", ""] = Field(description='which way is better, "" where neither is')
    is_better: bool | None = Field(description="null where nothing changed or neither way is better")


class AdapterPart(Part):
    """The chosen configuration. `size_mb` in MB (10^6 bytes) of its trained parameters in fp32, `files_mb` on disk."""

    trial: int | None
    params: dict[str, Any]
    seeds: int
    size_mb: Measured
    files_mb: Measured
    path: str
    validation: dict[str, Measured]
    test: dict[str, Measured]


class RerunPart(Part):
    """One of the best, trained again from other seeds."""

    trial: int
    scores: tuple[float, ...]
    mean: float
    interval: tuple[float, float] | None
    winner: bool


class ImportancePart(Part):
    """Shares of the score's variance; `basis` says over what, or why nothing can be said."""

    shares: dict[str, float]
    basis: str


class StartPart(Part):
    """What a study without a search would have had: its first start point's score, and how much better the winner is
    than that."""

    trial: int
    params: dict[str, Any]
    score: float
    gain: Measured


class AlertPart(Part):
    """One alert that holds."""

    name: str
    level: Literal["warning", "critical"]
    message: str
    value: Measured
    limit: Measured


class AdvicePart(Part):
    """Advice for one hyperparameter: a rule of thumb beside what the study's own trials say."""

    hyperparameter: str
    now: str
    rule_of_thumb: Measured
    rule_reason: str
    evidence: str
    evidence_reason: str
    entry: Any


class TargetPart(Part):
    """What to aim at in the next round."""

    name: str
    title: str
    now: Measured
    target: Measured
    reached: bool


class ConvergencePart(Part):
    """Whether another round is worth it."""

    converged: bool
    reasons: tuple[str, ...]
    missing: tuple[str, ...]


class RoundPart(Part):
    """One study of the series. `improvement` in percent of the round before."""

    iteration: int
    study: str
    created: float
    overall_score: Measured
    total_loss: Measured
    averages: dict[str, Measured]
    improvement: dict[str, Measured]
    comparable: bool
    reason: str


class TrainingReport(Part):
    """training_report.json."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        allow_inf_nan=False,
        title="LoRA training report",
        json_schema_extra={
            "if": {"properties": {"study": {"properties": {"task": {"const": "fashion"}}}}},
            "then": {
                "properties": {
                    "benchmark_analysis": {"properties": {"average_metrics": {"required": list(_FASHION)}}},
                    "lora_tuning": {
                        "properties": {
                            "generation_quality": {"required": ["average_ssim"]},
                            "feature_preservation": {"required": ["fashion_clip_similarity"]},
                        }
                    },
                }
            },
        },
    )

    schema_version: Literal[1] = 1
    analysis_time: Annotated[str, Field(description="ISO 8601 with the offset from UTC")]
    study: StudyPart
    summary: tuple[str, ...]
    missing: tuple[str, ...] = Field(description="what this report could not say, and why")
    benchmark_analysis: BenchmarkAnalysis
    lora_tuning: LoraTuning
    measures: tuple[MeasurePart, ...]
    items: tuple[ItemPart, ...]
    before_after: tuple[BeforeAfterPart, ...] = Field(description="empty where the base alone was not measured")
    data: dict[str, Any]
    adapter: AdapterPart | None
    start_point: StartPart | None
    importance: ImportancePart
    reruns: tuple[RerunPart, ...]
    engines: tuple[dict[str, Any], ...]
    performance: dict[str, Any]
    alerts: tuple[AlertPart, ...]
    advice: tuple[AdvicePart, ...]
    targets: tuple[TargetPart, ...]
    convergence: ConvergencePart
    rounds: tuple[RoundPart, ...]


def schema_text() -> str:
    """The published schema."""
    return json.dumps(TrainingReport.model_json_schema(), indent=1) + "\n"


if __name__ == "__main__":
    SCHEMA.write_text(schema_text(), encoding="utf-8")
