"""One task, served: its base on a device, its adapters, and the application that answers for them.

Each replica makes one `Service` and serves `Service.app`; in process there is one a task. What it needs to know is in
the settings and the registry's folder, so that a replica which takes another's place finds the same adapters.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import logging
from typing import Any

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse

from serve.app import make_app
from serve.base import base_of
from serve.forward import Forward
from serve.guard import Guard
from serve.hub import Hub
from serve.meters import CONTENT_TYPE, Meters, merged
from serve.problems import App
from serve.protection import protection
from serve.rates import DeskLike
from serve.rules import OPEN, Rule
from serve.runtime import Runtime
from serve.scale import threads_of
from serve.settings import ServeSettings, TaskSettings
from tuner import tasks
from tuner.device import KINDS, Device, select_devices
from tuner.lora.table import Resident
from tuner.registry import Registry
from tuner.tasks.served import ServedBase
from tuner.tasks.task import TaskSpec

log = logging.getLogger(__name__)

REPORT_S = 1.0  # between two reports of the metrics to the desk


class Service:
    """A task's runtime with its application. Made by `start`, ended by `close`."""

    def __init__(
        self,
        spec: TaskSpec,
        settings: ServeSettings,
        runtime: Runtime,
        forward: Forward,
        meters: Meters,
        desk: DeskLike,
        replica: str,
    ) -> None:
        self.task = spec.name
        self.runtime = runtime
        self.app: App = runtime_app(spec, settings, runtime, meters, desk, replica)
        self._settings = settings
        self._forward = forward
        self._meters = meters
        self._desk = desk
        self._replica = replica
        self._reporting = asyncio.get_running_loop().create_task(self._report())

    @classmethod
    async def start(cls, task: str, settings: ServeSettings, desk: DeskLike, replica: str) -> Service:
        """Load the base and every promoted adapter. Raises ConfigError, BaseModelError, DeviceError, StoreError."""
        spec, own = tasks.spec(task), settings.tasks[task]
        registry, meters = Registry(settings.registry), Meters(prefix(task))
        threads = own.threads or threads_of(settings)
        base = await asyncio.to_thread(_load, spec, own, registry)
        forward = Forward(base, own.queue, meters.forward, threads)

        async def canary(resident: Resident) -> Any:
            """What an adapter answers to a small request, or its error. It is no user's, so the line's limit is not
            for it."""
            done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

            def end(value: Any) -> None:
                if not done.done():
                    done.set_result(value)

            forward.submit(base.canary(), resident, end, None, counted=False)
            return await done

        hub = Hub(task, base, registry, meters, canary)
        try:
            await hub.start()
            runtime = Runtime(task, base, hub, forward, own)
            return cls(spec, settings, runtime, forward, meters, desk, replica)
        except BaseException:
            await hub.close()
            await forward.close(settings.drain_s)
            raise

    @property
    def alive(self) -> bool:
        """Whether the model works."""
        return self._forward.alive

    async def close(self) -> None:
        """Let requests under way end, then stop."""
        self._reporting.cancel()
        await asyncio.gather(self._reporting, return_exceptions=True)
        await self._forward.close(self._settings.drain_s)
        await self.runtime.hub.close()

    async def _report(self) -> None:
        while True:
            table = self.runtime.base.table
            self._meters.queue(self.runtime.under_way)
            self._meters.resident(len(table), table.bytes_used)
            with contextlib.suppress(ConnectionError, TimeoutError):
                async with asyncio.timeout(REPORT_S):
                    await self._desk.report(self._replica, self._meters.exposition())
            await asyncio.sleep(REPORT_S)


def prefix(task: str) -> str:
    """A task's part of the path: shoe-qa of shoe_qa."""
    return task.replace("_", "-")


def runtime_app(
    spec: TaskSpec, settings: ServeSettings, runtime: Runtime, meters: Meters, desk: DeskLike, replica: str
) -> App:
    """The guarded application of a runtime: the task's own routes, health and metrics. Raises ConfigError,
    StoreError (see `protection`)."""
    own = settings.tasks[spec.name]
    interface = importlib.import_module(f"serve.{spec.speaks}")
    app = make_app(spec.title, "Answers of promoted adapters.", interface.routes(runtime, own))
    app.include_router(_state_routes(runtime, meters, desk))
    rules = [
        *(Rule(rule.method, rule.path, rule.scope, own.max_body_kb * 1024) for rule in interface.RULES),
        *STATE_RULES,
        Rule("GET", "/openapi.json", "read"),
    ]
    keys, limiter = protection(settings, desk, meters, replica)
    return Guard(app, rules, keys, limiter, meters)


STATE_RULES = (
    Rule("GET", "/healthz", OPEN),
    Rule("GET", "/readyz", OPEN),
    Rule("GET", "/metrics", "read"),
)
METRICS: dict[str, Any] = {
    "response_class": Response,
    "responses": {200: {"description": "metrics", "content": {"text/plain": {"schema": {"type": "string"}}}}},
}
"""What the pages say of a route that answers with metrics."""


def _state_routes(runtime: Runtime, meters: Meters, desk: DeskLike) -> APIRouter:
    router = APIRouter(tags=["state"])

    @router.get("/healthz", summary="Whether the process answers")
    async def healthz() -> dict[str, str]:
        return {"status": "ok", "task": runtime.task}

    @router.get("/readyz", summary="Whether requests can be answered", responses={503: {"description": "not now"}})
    async def readyz() -> JSONResponse:
        trouble = runtime.trouble
        shown = {"status": "trouble" if trouble else "ready", "task": runtime.task}
        if trouble:
            shown["reason"] = trouble
        return JSONResponse(shown, 503 if trouble else 200)

    @router.get("/metrics", summary="Metrics of this task's replicas, for Prometheus", **METRICS)
    async def metrics() -> Response:
        return Response(await all_metrics(desk, meters.app), media_type=CONTENT_TYPE)

    return router


async def all_metrics(desk: DeskLike, app: str = "") -> bytes:
    """What every replica (of one application) last reported, as one exposition."""
    try:
        reports = await desk.reports()
    except (ConnectionError, TimeoutError):
        reports = {}
    return merged({name: text for name, text in reports.items() if not app or name.startswith(f"{app}#")})


def _load(spec: TaskSpec, own: TaskSettings, registry: Registry) -> ServedBase:
    """The task's base on its device. Raises BaseModelError, DeviceError."""
    name, revision = base_of(spec, own, registry)
    return spec.serve(name, revision, _device(own), own.adapter_memory_mb * 10**6)


def _device(own: TaskSettings) -> Device:
    """The best device there is, or the one that is named, in the precision that serving wants."""
    device = select_devices(own.device, "auto")[0]
    precision = own.precision
    if precision == "auto" and device.kind == KINDS[-1]:
        precision = "fp32"  # answers in company then equal those alone to 1e-5
    return select_devices([device.name], precision)[0]
