"""What every application here has in common: one shape of errors, an OpenAPI page, nothing that tells of the server."""

from __future__ import annotations

import logging
import math
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from serve.errors import ServeError
from serve.problems import Refusal, error_body
from tuner.errors import ConfigError, DataError, StoreError, TunerError

log = logging.getLogger(__name__)

_SHOWN = 3  # mistakes of a body that one answer names


class ErrorShown(BaseModel):
    """What is wrong."""

    message: str = Field(description="a sentence")
    type: str = Field(description="the kind of error, in OpenAI's words")
    param: str | None = Field(description="the field that is at fault")
    code: str | None = Field(description="a word for programs")


class ErrorBody(BaseModel):
    """Every error's shape."""

    error: ErrorShown = Field(description="what is wrong")


ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorBody, "description": words}
    for status, words in {
        400: "the request is not one: broken JSON, headers sent twice",
        401: "no API key, or none that is valid",
        403: "the key lacks the scope",
        404: "no such adapter, or no such path",
        405: "the path takes another method",
        408: "the body did not arrive in time",
        413: "the body is too long",
        415: "the body is not plain JSON",
        422: "a field is missing, unknown or out of its range",
        429: "too many requests; Retry-After says when to try again",
        500: "the server failed",
        503: "an adapter or the server is not ready",
        504: "there was no answer in time",
    }.items()
}


def make_app(title: str, description: str, router: APIRouter) -> FastAPI:
    """A FastAPI application around some routes. Its own documentation pages are off, since they load scripts from
    elsewhere; /openapi.json is there."""
    app = FastAPI(title=title, description=description, version="1", docs_url=None, redoc_url=None, responses=ERRORS)
    app.include_router(router)

    @app.exception_handler(ServeError)
    async def refused(request: Request, error: ServeError) -> JSONResponse:
        headers = {"retry-after": str(math.ceil(error.retry_after))} if error.retry_after is not None else None
        return _error(error.status, str(error), error.code, error.param, headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        found = error.errors()
        sentences = [f"{_place(each['loc'])}: {each['msg']}" for each in found[:_SHOWN]]
        more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        return _error(422, "; ".join(sentences) + more, "invalid_request", _place(found[0]["loc"]))

    @app.exception_handler(HTTPException)
    async def refused_by_routes(request: Request, error: HTTPException) -> JSONResponse:
        return _error(error.status_code, str(error.detail), None, None, dict(error.headers or {}))

    @app.exception_handler(Refusal)
    async def refused_by_hand(request: Request, error: Refusal) -> JSONResponse:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in error.headers}
        return _error(error.status, error.message, error.code, error.param, headers)

    @app.exception_handler(Exception)
    async def broken(request: Request, error: Exception) -> JSONResponse:
        # it is raised on behind this answer, and the guard logs where it came from, without its words
        return _error(500, "the server failed.", "internal_error", None)

    @app.exception_handler(TunerError)
    async def failed(request: Request, error: TunerError) -> JSONResponse:
        if isinstance(error, ConfigError | DataError):
            return _error(422, str(error), "invalid_request", error.problems[0].name if error.problems else None)
        log.error("a request failed: %s", error)
        status, code = (503, "store_error") if isinstance(error, StoreError) else (500, "server_error")
        return _error(status, "the server could not do it; its log says why.", code, None)

    return app


def _place(where: tuple[int | str, ...]) -> str:
    """A field's name, as messages.0.content, cut short: it is the request's own."""
    inner = where[1:] if where and where[0] in ("body", "query", "path") else where
    return ".".join(map(str, inner))[:80] or "body"


def _error(
    status: int, message: str, code: str | None, param: str | None, headers: dict[str, str] | None = None
) -> JSONResponse:
    return JSONResponse(error_body(status, message, code, param), status, headers)
