"""Routes whose body was parsed before."""

from __future__ import annotations

import json
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from serve.app import make_app
from serve.guard import Development, Guard
from serve.meters import Meters
from serve.parsed import ParsedRoute
from serve.rules import Rule
from tests.serve.asgi import Answer, ask


class Pair(BaseModel):
    """Two numbers."""

    model_config = ConfigDict(extra="forbid")

    a: int = Field(description="one", le=10)
    b: int = Field(default=2, description="another")


router = APIRouter(route_class=ParsedRoute)


@router.post("/sum")
async def add(request: Request, ask: Pair) -> JSONResponse:
    return JSONResponse({"sum": ask.a + ask.b, "key": request.state.key})


APP = make_app("toy", "a toy", router)
GUARD = Guard(APP, [Rule("POST", "/sum", "infer")], Development.MODE, None, Meters("toy"))


def post(body: Any) -> Answer:
    return ask(GUARD, "POST", "/sum", [("host", "127.0.0.1")], json.dumps(body).encode(), query_string=b"")


def test_the_endpoint_gets_the_model() -> None:
    answer = post({"a": 3})
    assert answer.status == 200
    assert json.loads(answer.body) == {"sum": 5, "key": "development"}


def test_mistakes_are_told_as_everywhere() -> None:
    for body, param in (({"a": 11}, "a"), ({}, "a"), ({"a": 1, "c": 1}, "c"), ([], "body"), (None, "body")):
        answer = post(body)
        assert answer.status == 422
        assert answer.error["param"] == param
        assert answer.error["code"] == "invalid_request"


def test_it_is_documented_like_any_other() -> None:
    content = APP.openapi()["paths"]["/sum"]["post"]["requestBody"]["content"]
    assert content == {"application/json": {"schema": {"$ref": "#/components/schemas/Pair"}}}
