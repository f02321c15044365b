"""StudyConfig: one study as a frozen, validated object, or a ConfigError with every mistake at once.

Pydantic models hold the shape and the rules of single fields; `config_space` has the entries of a search space,
`config_score` weights and bands, `config_report` how outputs are judged, `config_judge` by which language model,
`config_memory` what saves memory, `config_rules` what ties parts together, `config_file` the way in from YAML and the
command line. Knows nothing of models: whether a base has the named target modules, or a device is there, is checked by
whoever owns that fact, still before a study launches.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    Field,
    PrivateAttr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from tuner.config_judge import JudgeConfig
from tuner.config_memory import MemoryConfig
from tuner.config_report import AlertConfig, BenchmarkConfig, RoundsConfig
from tuner.config_rules import (
    COMMON_HYPERPARAMETERS,
    REQUIRED_HYPERPARAMETERS,
    band_problems,
    end_problems,
    grace_problems,
    name_problems,
    space_problems,
    start_point_problems,
)
from tuner.config_score import BandConfig, GradeScores, ScoreConfig
from tuner.config_space import (
    Choice,
    Constant,
    Entry,
    FloatRange,
    Frozen,
    IntRange,
    Number,
    SpaceEntry,
    Whole,
    as_entry,
    broken,
    parse_entry,
)
from tuner.config_words import problems_of
from tuner.device import name_rule
from tuner.errors import ConfigError, Problem

__all__ = [
    "COMMON_HYPERPARAMETERS",
    "REQUIRED_HYPERPARAMETERS",
    "AlertConfig",
    "AshaConfig",
    "BandConfig",
    "BenchmarkConfig",
    "Choice",
    "Constant",
    "DataConfig",
    "Entry",
    "FloatRange",
    "GradeScores",
    "IntRange",
    "JudgeConfig",
    "MemoryConfig",
    "RoundsConfig",
    "ScoreConfig",
    "SearchConfig",
    "SpaceEntry",
    "StudyConfig",
]

_MOST_SEED = 2**32 - 1  # numpy takes no larger one

Count = Annotated[Whole, Field(ge=1)]
Seed = Annotated[Whole, Field(ge=0, le=_MOST_SEED)]
Share = Annotated[Number, Field(gt=0, le=0.5)]
FilePath = Annotated[Path, AfterValidator(Path.expanduser)]


def _printable(text: str) -> str:
    if not text.strip() or not text.isprintable():
        raise broken("must be text of printable characters, not empty")
    return text


Text = Annotated[str, AfterValidator(_printable)]


class DataConfig(Frozen):
    """Where the rows come from. `source` is "embedded", a file, a folder or a hub id; `train`, `validation`, `test`
    name files one by one instead. Splits that are missing are cut from train with `split_seed`. `columns` maps what the
    task reads (text, label) to the data's own column names, `labels` the data's label texts to class numbers from 0.
    `max_length` is in tokens."""

    source: Text = "embedded"
    train: FilePath | None = None
    validation: FilePath | None = None
    test: FilePath | None = None
    columns: dict[str, Text] = Field(default_factory=dict)
    labels: dict[str, Annotated[Whole, Field(ge=0)]] | None = None
    train_samples: Count | None = None
    validation_samples: Count | None = None
    test_samples: Count | None = None
    validation_share: Share = 0.15
    test_share: Share = 0.15
    split_seed: Seed = 0
    max_length: Annotated[Whole, Field(ge=4, le=8192)] = 128


class AshaConfig(Frozen):
    """ASHA: rungs at grace_epochs * reduction_factor ** k passes over the training rows; at each, the best
    1/reduction_factor go on."""

    grace_epochs: Annotated[Number, Field(gt=0)] = 0.5
    reduction_factor: Annotated[Number, Field(gt=1)] = 3.0


class SearchConfig(Frozen):
    """How the space is searched. `concurrent` None means a quarter of the trials at once, more where the devices
    need more to be busy; `time_budget_minutes` stops launching trials after it; `asha` None stops no trial for being
    worse than others. `patience` stops a trial for its own sake: it is complete when so many reports in a row did not
    better the best value so far of its task's quality metric on the validation rows; None lets it see all its rows."""

    trials: Annotated[Whole, Field(ge=1, le=100_000)] = 16
    seed: Seed = 0
    startup_trials: Annotated[Whole, Field(ge=0)] = 6
    concurrent: Count | None = None
    reports_per_epoch: Annotated[Whole, Field(ge=1, le=1000)] = 2
    asha: AshaConfig | None = AshaConfig()
    patience: Count | None = None
    top_k: Count = 3
    top_k_seeds: Annotated[Whole, Field(ge=1, le=100)] = 3
    time_budget_minutes: Annotated[Number, Field(gt=0)] | None = None


class StudyConfig(Frozen):
    """One study, complete and valid. Whatever way it is made, what is wrong comes as one ConfigError."""

    task: Text
    name: str | None = None
    base_model: Text
    revision: str | None = None
    data: DataConfig = DataConfig()
    space: dict[str, SpaceEntry]
    start_points: list[dict[str, Any]] = Field(default_factory=list)
    search: SearchConfig = SearchConfig()
    score: ScoreConfig = ScoreConfig()
    benchmark: BenchmarkConfig = BenchmarkConfig()
    judge: JudgeConfig = JudgeConfig()
    alerts: AlertConfig = AlertConfig()
    rounds: RoundsConfig = RoundsConfig()
    memory: MemoryConfig = MemoryConfig()
    devices: list[str] | Literal["auto"] = "auto"
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    results: FilePath = Path("results")

    _notes: tuple[str, ...] = PrivateAttr(default=())

    @property
    def config_notes(self) -> tuple[str, ...]:
        """Sentences for the log: what an override moved besides what it names."""
        return self._notes

    def concurrency(self, capacity: int, busy: int) -> int:
        """How many trials run at once on engines that hold `capacity` and that `busy` trials keep busy.

        What the config says; else a quarter of the trials, so that the others learn from them, but at least `busy` and
        all that are given as start points, which learn from nothing. Never more than fit."""
        if self.search.concurrent:
            return self.search.concurrent
        given = min(len(self.start_points), self.search.trials)
        return min(capacity, max(given, -(-self.search.trials // 4), busy))

    def with_notes(self, notes: tuple[str, ...]) -> Self:
        """A copy that carries these notes. They are no part of the config: neither saved nor compared."""
        copy = self.model_copy()
        copy._notes = notes
        return copy

    def __eq__(self, other: object) -> bool:
        return isinstance(other, StudyConfig) and self.model_dump() == other.model_dump()

    @field_validator("name")
    @classmethod
    def _name_is_a_folder(cls, name: str | None) -> str | None:
        cure = "Use letters, digits, dots, dashes and underscores, a letter or digit first."
        if name is None:
            return None
        if len(name) > 100 or len(name.encode("utf-8", "replace")) > 200:
            raise broken(f"must have at most 100 characters (200 bytes), and has {len(name)}", cure)
        if not re.fullmatch(r"[^\W_][\w.-]*", name):
            raise broken("is no safe name for a folder", cure)
        return name

    @field_validator("revision")
    @classmethod
    def _revision_is_a_commit(cls, revision: str | None) -> str | None:
        if revision is not None and not re.fullmatch(r"[0-9a-fA-F]{40}", revision):
            raise broken("must be a commit of 40 hexadecimal digits", "Copy the full commit id; branches move.")
        return revision

    @field_validator("devices", mode="before")
    @classmethod
    def _devices_are_names(cls, devices: Any) -> Any:
        if devices in ("auto", ["auto"]):
            return "auto"
        names = [devices] if isinstance(devices, str) else list(devices) if isinstance(devices, list | tuple) else None
        if not names or not all(isinstance(name, str) for name in names):
            raise broken("must be auto or a list of device names", "Leave it out to use the best there is.")
        rules = [rule for rule in (name_rule(name) for name in names) if rule]
        if rules:
            raise broken(rules[0], "Leave it out to use the best there is.")
        if len(set(names)) != len(names):
            raise broken("names a device twice", "Keep one of them.")
        return names

    @field_validator("space", mode="before")
    @classmethod
    def _bare_values_are_constants(cls, space: Any) -> Any:
        return {name: as_entry(raw) for name, raw in space.items()} if isinstance(space, Mapping) else space

    @model_validator(mode="wrap")
    @classmethod
    def _every_mistake(cls, data: Any, handler: Callable[[Any], Self], info: ValidationInfo) -> Self:
        """Shape first, then the rules between parts, on whatever parts are sound by themselves."""
        made, problems = None, []
        try:
            made = handler(data)
        except ValidationError as error:
            problems = problems_of(error, cls)
        if isinstance(data, Mapping):
            problems.extend(_rules_between(data, info.context or {}))
        if made is None or problems:
            raise ConfigError(problems)
        return made


def _rules_between(raw: Mapping[str, Any], context: Mapping[str, Any]) -> Iterator[Problem]:
    """Problems between parts. `context` may hold the task's own "hyperparameters" and "bands"; else any name goes."""
    space = raw["space"] if isinstance(raw.get("space"), Mapping) else {}
    entries: dict[str, Entry] = {}
    for name, entry in space.items():
        try:
            entries[name] = parse_entry(entry)
        except ValidationError:
            yield from end_problems(name, entry)  # what else is wrong is already reported
    yield from space_problems(entries, space)
    if "hyperparameters" in context and isinstance(raw.get("space"), Mapping):
        yield from name_problems(space, context["hyperparameters"])
    points = raw.get("start_points")
    yield from start_point_problems(points if isinstance(points, list) else [], entries, space)
    try:
        search = raw.get("search", {})
        asha = search.asha if isinstance(search, SearchConfig) else search.get("asha", {})
        grace = AshaConfig.model_validate(asha).grace_epochs
    except (ValidationError, AttributeError):
        grace = 0.0  # asha is off, or its mistake is already reported
    yield from grace_problems(grace, entries.get("epochs"))
    score = raw.get("score")
    score = score.model_dump() if isinstance(score, ScoreConfig) else score
    bands = score.get("bands") if isinstance(score, Mapping) else None
    if "bands" in context and isinstance(bands, Mapping):
        yield from band_problems(bands, context["bands"])
