"""What applications have in common: errors of one shape, pages that say what they take, and no route unguarded."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
from fastapi import APIRouter, HTTPException
from pydantic import BaseModel, Field

from serve.app import make_app
from serve.errors import (
    AdapterFailedError,
    ClosingError,
    QueueFullError,
    ServeError,
    TooSlowError,
    UnknownAdapterError,
)
from serve.guard import Development, Guard
from serve.meters import Meters
from serve.problems import Refusal
from serve.rules import Rule
from tests.serve.asgi import ask
from tuner.errors import ConfigError, DataError, EngineError, Problem, StoreError

HERE = [("host", "127.0.0.1")]
SECRET = "what the client wrote"


class Numbers(BaseModel):
    numbers: list[int] = Field(description="some numbers")


def failing(error: Exception) -> Any:
    """A guarded application whose one route fails."""
    router = APIRouter()

    @router.get("/fail")
    async def fail() -> None:
        raise error

    @router.post("/numbers")
    async def numbers(asked: Numbers) -> dict[str, int]:
        return {"sum": sum(asked.numbers)}

    app = make_app("toy", "a toy", router)
    rules = [Rule("GET", "/fail", "read"), Rule("POST", "/numbers", "read")]
    return Guard(app, rules, Development.MODE, None, Meters("toy"))


@pytest.mark.parametrize(
    ("error", "status", "code", "param"),
    [
        (UnknownAdapterError("There is none."), 404, "model_not_found", "adapter"),
        (AdapterFailedError("It failed."), 503, "adapter_failed", None),
        (QueueFullError(5, 1.2), 429, "queue_full", None),
        (TooSlowError(3), 504, "timeout", None),
        (ClosingError(), 503, "closing", None),
        (ServeError("So."), 500, "server_error", None),
        (Refusal(413, "too long.", "body_too_large", "body"), 413, "body_too_large", "body"),
        (HTTPException(409, "no"), 409, None, None),
        (ConfigError(Problem("port", 0, "it is too small")), 422, "invalid_request", "port"),
        (DataError("The data."), 422, "invalid_request", None),
        (StoreError(SECRET), 503, "store_error", None),
        (EngineError(SECRET), 500, "server_error", None),
        (RuntimeError(SECRET), 500, "internal_error", None),
        (KeyError(SECRET), 500, "internal_error", None),
        (RecursionError(SECRET), 500, "internal_error", None),
    ],
)
def test_errors_have_one_shape(error: Exception, status: int, code: str | None, param: str | None) -> None:
    answer = ask(failing(error), "GET", "/fail", HERE, query_string=b"")
    assert answer.status == status
    assert answer.headers["content-type"] == "application/json"
    assert set(answer.error) == {"message", "type", "param", "code"}
    assert (answer.error["code"], answer.error["param"]) == (code, param)
    assert answer.error["type"] == ("server_error" if status >= 500 else answer.error["type"])
    assert SECRET.encode() not in answer.body
    assert b"Traceback" not in answer.body
    assert answer.headers["x-request-id"]


def test_retry_after_is_whole_seconds() -> None:
    assert ask(failing(QueueFullError(5, 1.2)), "GET", "/fail", HERE, query_string=b"").headers["retry-after"] == "2"


def test_headers_of_a_refusal() -> None:
    refusal = Refusal(429, "wait.", headers=[(b"retry-after", b"7")])
    assert ask(failing(refusal), "GET", "/fail", HERE, query_string=b"").headers["retry-after"] == "7"


def test_what_breaks_is_logged_by_its_place_alone(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    ask(failing(RuntimeError(SECRET)), "GET", "/fail", HERE, query_string=b"")
    assert "RuntimeError" in caplog.text
    assert "in fail" in caplog.text
    assert SECRET not in caplog.text


@pytest.mark.parametrize(
    ("body", "param", "words"),
    [
        ({}, "numbers", "Field required"),
        ({"numbers": ["a", 1, "b"]}, "numbers.0", "numbers.2"),
        ({"numbers": ["a"] * 9}, "numbers.0", "and 6 more"),
        ([], "body", "body: "),
    ],
)
def test_mistakes_in_a_body_are_named(body: Any, param: str, words: str) -> None:
    answer = ask(failing(ServeError("")), "POST", "/numbers", HERE, json.dumps(body).encode(), query_string=b"")
    assert answer.status == 422
    assert answer.error["param"] == param
    assert words in answer.error["message"]
