"""What /admin takes and gives."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Path
from pydantic import BaseModel, ConfigDict, Field

from tuner.registry import CHAMPION, Adapter, Limits
from tuner.registry.state_json import target_to_json
from tuner.registry.target import MAX_REQUESTS, WORDS

_VERSION = "1a2b3c4d5e6f"

Task = Annotated[str, Path(description="the task", examples=["sentiment"])]
Name = Annotated[str, Path(description="the adapter's name", examples=["reviews"])]
AliasName = Annotated[str, Path(description="the alias", examples=[CHAMPION])]
VersionName = Annotated[str, Path(description="12 hex digits", examples=[_VERSION])]
_WHY = Field(default="", max_length=WORDS, description="a line for the history")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class PromoteAsk(_Strict):
    """Which adapter to publish: a study's winner."""

    study: str = Field(
        min_length=1,
        max_length=200,
        description="the study's name in the server's results folder",
        examples=["reviews"],
    )
    trial: str | None = Field(
        default=None, max_length=100, description="the winner's id, to be sure; other trials have no adapter"
    )
    alias: str = Field(
        default=CHAMPION, min_length=1, max_length=64, description="the alias that points to it from now on"
    )


class LimitsAsk(_Strict):
    """When a version on trial is taken out of a split by itself. The first version of the split stands."""

    max_errors: float | None = Field(default=None, ge=0, lt=1, description="the largest share of failed requests")
    max_latency_ms: float | None = Field(default=None, gt=0, description="the largest mean latency in ms")
    max_latency_ratio: float | None = Field(
        default=None, ge=1, description="the largest mean latency against the first"
    )
    requests: int = Field(
        default=Limits.requests, ge=1, le=MAX_REQUESTS, description="over how many of its last requests"
    )


class AliasAsk(_Strict):
    """What an alias points to: one version, or several by weight."""

    split: dict[str, float] = Field(
        min_length=1,
        max_length=8,
        description="versions and their weights; the first one stands, others are on trial",
        examples=[{_VERSION: 0.9, "6f5e4d3c2b1a": 0.1}],
    )
    shadow: str | None = Field(default=None, max_length=64, description="a version that is asked too, never shown")
    limits: LimitsAsk | None = Field(default=None, description="when a version on trial is taken back")
    why: str = _WHY


class WhyAsk(_Strict):
    """Why."""

    why: str = _WHY


class Promoted(BaseModel):
    """What was published."""

    adapter: str = Field(description="its full name", examples=[f"sentiment/reviews@{_VERSION}"])
    alias: str = Field(description="the alias that points to it now")


class VersionShown(BaseModel):
    """A version."""

    version: str = Field(description="12 hex digits", examples=[_VERSION])
    created: float = Field(description="when it was promoted; seconds since 1970")
    by: str = Field(description="who promoted it", examples=["http:ci"])


class TargetShown(BaseModel):
    """What an alias points to."""

    split: dict[str, float] = Field(description="versions and their shares, which sum to 1")
    shadow: str | None = Field(description="a version that is asked too, never shown")
    limits: LimitsAsk | None = Field(description="when a version on trial is taken back")


class AliasShown(TargetShown):
    """An alias as it stands."""

    changed: float = Field(description="since when; seconds since 1970")
    by: str = Field(description="who changed it last")
    why: str = Field(description="why")


class AdapterShown(BaseModel):
    """An adapter: its versions, oldest first, and its aliases."""

    adapter: str = Field(description="its task and name", examples=["sentiment/reviews"])
    versions: list[VersionShown] = Field(description="oldest first")
    aliases: dict[str, AliasShown] = Field(description="by name")


class AdaptersShown(BaseModel):
    """The registry at one moment."""

    generation: int = Field(description="grows by one with every change")
    adapters: list[AdapterShown] = Field(description="by name")


class ChangeShown(BaseModel):
    """A change of an alias."""

    number: int = Field(description="counted from 1")
    target: TargetShown | None = Field(description="what it pointed to from then on; null where it was removed")
    when: float = Field(description="seconds since 1970")
    by: str = Field(description="who changed it")
    why: str = Field(description="why")
    back_to: int | None = Field(description="the change that a rollback restored")


class AdapterDetails(AdapterShown):
    """An adapter with where its versions come from, and all changes of its aliases that are kept."""

    origins: dict[str, dict[str, Any]] = Field(
        description="of each version its base, study, trial, metrics, hyperparameters and space"
    )
    history: dict[str, list[ChangeShown]] = Field(description="of each alias, removed ones too; oldest first")


class VersionsLeft(BaseModel):
    """What is left of an adapter."""

    adapter: str = Field(description="its task and name")
    versions: list[str] = Field(description="none: its name is gone with its last version")


def adapter_shown(adapter: Adapter) -> dict[str, Any]:
    """An adapter as `AdapterShown`."""
    return {
        "adapter": str(adapter.name),
        "versions": [
            {"version": entry.version, "created": entry.created, "by": entry.by} for entry in adapter.versions.values()
        ],
        "aliases": {
            name: {**(target_to_json(alias.target) or {}), "changed": alias.changed, "by": alias.by, "why": alias.why}
            for name, alias in adapter.aliases.items()
        },
    }


def history_shown(adapter: Adapter) -> dict[str, Any]:
    """The changes of its aliases as `AdapterDetails.history`."""
    return {
        alias: [{**vars(change), "target": target_to_json(change.target)} for change in changes]
        for alias, changes in adapter.history.items()
    }
