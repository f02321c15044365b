"""How a server runs: pydantic models with every default, read from YAML, every mistake reported at once.

Knows nothing of Ray; `serve/deploy.py` turns replicas and devices into what Ray asks for.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from tuner import tasks
from tuner.errors import ConfigError, Problem

_BESIDE = {"registry": "registry", "keys": "keys.json", "log": "serve.log"}


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TaskSettings(_Strict):
    """How one task is served."""

    base_model: str | None = Field(
        default=None, description="its one base; that of the newest promoted adapter if not given"
    )
    revision: str | None = Field(default=None, description="the base's commit on the hub, 40 hex digits")
    device: str = Field(default="auto", description="auto is the best there is; or cuda, cuda:N, mps, cpu")
    precision: str = Field(
        default="auto", description="auto is fp32 on a CPU and the device's own elsewhere; fp32, bf16, fp16"
    )
    adapter_memory_mb: int = Field(
        default=1024, ge=1, description="MB for adapters; least recently used ones go back to disk"
    )
    queue: int = Field(
        default=256,
        ge=1,
        le=100_000,
        description="texts, chats or pictures under way in a replica; more is answered 429",
    )
    timeout_s: float = Field(
        default=30.0, gt=0, le=3600, description="seconds an answer may take; longer is answered 504"
    )
    max_text: int = Field(
        default=20_000, ge=1, le=1_000_000, description="characters of a text, or of all messages of a chat"
    )
    max_body_kb: int = Field(default=1024, ge=1, le=65_536, description="kB of a request's body; more is answered 413")
    replicas: int | None = Field(
        default=None,
        ge=1,
        le=1000,
        description="replicas, or the fewest; if not given 1, or of a small base one a core up to 8",
    )
    max_replicas: int | None = Field(
        default=None, ge=1, le=1000, description="where given, Ray Serve scales up to that many"
    )
    gpus: float | None = Field(
        default=None, ge=0, le=8, description="GPUs of a replica, 0.5 puts two on one; an equal share if not given"
    )
    cpus: float = Field(default=0.5, ge=0, le=1024, description="cores that Ray sets aside for a replica")
    threads: int | None = Field(
        default=None, ge=1, le=1024, description="threads of a forward; an equal share of the cores if not given"
    )

    @model_validator(mode="after")
    def _scaling(self) -> TaskSettings:
        if self.max_replicas is not None and self.max_replicas < (self.replicas or 1):
            raise ValueError(f"max_replicas = {self.max_replicas} is below replicas = {self.replicas or 1}")
        return self


class ServeSettings(_Strict):
    """How the server runs."""

    host: str = Field(
        default="127.0.0.1", description="the address to listen on; development listens on loopback alone"
    )
    port: int = Field(default=8000, ge=1, le=65_535, description="the port to listen on")
    registry: Path = Field(default=Path("results/registry"), description="the registry's folder")
    results: Path = Field(default=Path("results"), description="where studies lie, for promotions over HTTP")
    keys: Path = Field(default=Path("results/keys.json"), description="the file of API keys, made by tuner keys")
    log: Path = Field(
        default=Path("results/serve.log"), description="the log: a line a request, and what else there is to say"
    )
    development: bool = Field(
        default=False, description="no keys: answers to this machine alone, and refuses other addresses"
    )
    rate_per_minute: int = Field(
        default=6000, ge=1, description="requests a minute of a key that has no rate of its own"
    )
    drain_s: float = Field(
        default=20.0, ge=0, le=3600, description="seconds that requests under way get when a replica ends"
    )
    tasks: dict[str, TaskSettings] = Field(
        default_factory=lambda: {name: TaskSettings() for name in tasks.names() if tasks.spec(name).served},
        min_length=1,
        description="the tasks to serve, each with its settings; all of them if not given",
    )


def settings_from(data: Mapping[str, Any]) -> ServeSettings:
    """Validated settings. Raises ConfigError with every mistake."""
    results = data.get("results")
    if isinstance(results, str | Path):  # what belongs to the results follows them, unless it is named itself
        data = {**{name: Path(results) / word for name, word in _BESIDE.items()}, **data}
    try:
        found = ServeSettings.model_validate(dict(data))
    except ValidationError as error:
        raise ConfigError(
            Problem(".".join(map(str, each["loc"])), each["input"], each["msg"]) for each in error.errors()
        ) from error
    known = [name for name in tasks.names() if tasks.spec(name).served]
    if problems := [
        Problem(f"tasks.{name}", name, "there is no such task to serve", f"Use one of: {', '.join(known)}.")
        for name in found.tasks
        if name not in known
    ]:
        raise ConfigError(problems)
    return found


def read_settings(path: Path) -> dict[str, Any]:
    """A YAML file's mapping, not yet validated. Raises ConfigError."""
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        raise ConfigError(Problem("settings", str(path), f"it cannot be read: {str(error).splitlines()[0]}")) from error
    if not isinstance(data or {}, dict):
        raise ConfigError(Problem("settings", str(path), "it must hold keys and values"))
    return data or {}
