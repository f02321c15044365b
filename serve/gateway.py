"""The application at the root: how all tasks are, their metrics, and the changes of the registry.

Holds no model, so it answers while others load. Knows the tasks by what it is told of them: why each cannot answer.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Mapping

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse

from serve import admin
from serve.app import make_app
from serve.guard import Guard
from serve.meters import CONTENT_TYPE, Meters
from serve.problems import App
from serve.protection import protection
from serve.rates import DeskLike
from serve.rules import OPEN, Rule
from serve.service import METRICS, all_metrics, prefix
from serve.settings import ServeSettings

RULES = (
    Rule("GET", "/", "read"),
    Rule("GET", "/healthz", OPEN),
    Rule("GET", "/readyz", OPEN),
    Rule("GET", "/metrics", "read"),
    Rule("GET", "/openapi.json", "read"),
    *admin.RULES,
)

Troubles = Callable[[], Awaitable[Mapping[str, str]]]
"""Why each task cannot answer, "" where it can."""


def gateway_app(settings: ServeSettings, desk: DeskLike, troubles: Troubles) -> App:
    """The guarded application. Raises ConfigError, StoreError (see `protection`)."""
    meters = Meters("gateway")
    router = APIRouter(tags=["state"])

    @router.get("/", summary="What is served here")
    async def index() -> dict[str, object]:
        return {
            "tasks": {task: f"/{prefix(task)}" for task in settings.tasks},
            "openapi": [*(f"/{prefix(task)}/openapi.json" for task in settings.tasks), "/openapi.json"],
        }

    @router.get("/healthz", summary="Whether the server answers")
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @router.get("/readyz", summary="Whether every task can answer", responses={503: {"description": "not all can"}})
    async def readyz() -> JSONResponse:
        found = await troubles()
        ready = not any(found.values())
        shown = {task: why or "ready" for task, why in found.items()}
        return JSONResponse({"status": "ready" if ready else "trouble", "tasks": shown}, 200 if ready else 503)

    @router.get("/metrics", summary="Metrics of every replica, for Prometheus", **METRICS)
    async def metrics() -> Response:
        with contextlib.suppress(ConnectionError, TimeoutError):
            await desk.report("gateway#", meters.exposition())
        return Response(await all_metrics(desk), media_type=CONTENT_TYPE)

    app = make_app("LoRA tuner", "Health, metrics and the registry of adapters.", router)
    app.include_router(admin.routes(settings))
    keys, limiter = protection(settings, desk, meters, "gateway")
    return Guard(app, RULES, keys, limiter, meters)
