"""What a study's record says of how it is judged: its task, the benchmark of its outputs, alerts, rounds, score.

Reads the saved config part by part, so that an old study, or one whose other parts are damaged, can still be reported.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from tuner import tasks
from tuner.config import AlertConfig, BandConfig, BenchmarkConfig, RoundsConfig, ScoreConfig
from tuner.config_words import problems_of
from tuner.errors import ConfigError
from tuner.score import DEFAULT_BANDS
from tuner.score_benchmark import Benchmark, configured
from tuner.store.records import StudyRecord

Part = TypeVar("Part", bound=BaseModel)


@dataclass(frozen=True)
class Settings:
    """`benchmark` holds what the config says already; `bands` are those of the components, "efficiency", "quality" and
    "preservation", and of every other graded metric; `sources` names the metric behind each component."""

    judged_by: Benchmark
    bands: Mapping[str, BandConfig]
    sources: Mapping[str, str]
    benchmark: BenchmarkConfig
    alerts: AlertConfig
    rounds: RoundsConfig
    score: ScoreConfig


def settings_of(record: StudyRecord, preset: str | None = None) -> Settings:
    """How a study is judged; by another `preset` of weights than its own, if one is named. Raises ConfigError for a
    config that says what cannot be, and for a task that is not there."""
    spec = tasks.spec(record.task).for_rows(record.data)
    benchmark = _part(record, "benchmark", BenchmarkConfig)
    if preset is not None:
        benchmark = benchmark.model_copy(update={"preset": preset, "weights": None})
    score = _part(record, "score", ScoreConfig)
    found = Settings(
        judged_by=spec.judged_by,
        bands={**DEFAULT_BANDS, **spec.bands, **score.bands},
        sources=spec.sources,
        benchmark=benchmark,
        alerts=_part(record, "alerts", AlertConfig),
        rounds=_part(record, "rounds", RoundsConfig),
        score=score,
    )
    judged_by = configured(found.judged_by, found)
    # a band that the config gives to a component holds for the metric behind it wherever that is graded
    own = {spec.sources[name]: band for name, band in score.bands.items() if name in spec.sources}
    measures = tuple(replace(each, band=own.get(each.metric, each.band)) for each in judged_by.measures)
    return replace(found, judged_by=replace(judged_by, measures=measures))


def _part(record: StudyRecord, name: str, model: type[Part]) -> Part:
    saved: Any = record.config.get(name, {})
    try:
        return model.model_validate(saved)
    except ValidationError as error:
        problems = [replace(each, name=f"{name}.{each.name}") for each in problems_of(error, model)]
        raise ConfigError(problems) from error
