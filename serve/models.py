"""What can be asked for as `model`, as OpenAI's API lists it: the base, and adapters by name, alias and version."""

from __future__ import annotations

import time
from typing import Annotated, Literal

from fastapi import APIRouter, Path
from pydantic import BaseModel, Field

from serve.errors import UnknownAdapterError
from serve.rules import Rule
from serve.runtime import Runtime
from tuner.registry import CHAMPION

OWNER = "lora-tuner"
_MODELS, _MODEL = "/v1/models", "/v1/models/{model:path}"
RULES = (Rule("GET", _MODELS, "read"), Rule("GET", _MODEL, "read"))


class Model(BaseModel):
    """What can be asked: the base, a version of an adapter, or an alias."""

    id: str = Field(description="what to give as model")
    object: Literal["model"] = Field(default="model", description="what this is")
    created: int = Field(description="when it was promoted, the base when it was loaded; seconds since the epoch")
    owned_by: str = Field(default=OWNER, description="who made it")
    root: str = Field(description="the base's name")
    parent: str | None = Field(default=None, description="the id of an adapter's base, null for the base")


class Models(BaseModel):
    """All that can be asked."""

    object: Literal["list"] = Field(default="list", description="what this is")
    data: list[Model] = Field(description="the base, then adapters by name")


def add_models(router: APIRouter, runtime: Runtime) -> None:
    """GET /v1/models and /v1/models/{id}."""
    base, loaded = runtime.facts.name, int(time.time())

    def shown() -> list[Model]:
        """The base; each adapter by its version, by its aliases, and by its name alone where it has a champion."""
        found = {base: Model(id=base, created=loaded, root=base)}
        for each in sorted(runtime.adapters(), key=lambda each: (each.name, each.created)):
            if each.refused:
                continue
            names = [each.name] if CHAMPION in each.aliases else []
            for name in [*names, *(f"{each.name}@{at}" for at in (*each.aliases, each.version))]:
                found[name] = Model(id=name, created=int(each.created), root=base, parent=base)
        return list(found.values())

    @router.get(_MODELS, summary="What can be asked for as model")
    async def models() -> Models:
        return Models(data=shown())

    @router.get(_MODEL, summary="One of them")
    async def model(model: Annotated[str, Path(description="its id", examples=["reviews@champion"])]) -> Model:
        found = next((each for each in shown() if each.id == model), None)
        if found is None:
            raise UnknownAdapterError(
                f"There is no model {model[:80]!r}. GET /v1/models lists those that there are.", "model"
            )
        return found
