"""Every application in this process, under one port: the code that runs on Ray, for tests, debugging, one machine."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping

from starlette.routing import Mount, Router

from serve.desk import Desk
from serve.door import listening_at
from serve.gateway import gateway_app
from serve.problems import App
from serve.service import Service, prefix
from serve.settings import ServeSettings


@contextlib.asynccontextmanager
async def local_app(settings: ServeSettings) -> AsyncIterator[App]:
    """All applications as one, while the context lasts. Raises ConfigError, BaseModelError, DeviceError, StoreError."""
    desk = Desk()
    services: dict[str, Service] = {}

    async def troubles() -> Mapping[str, str]:
        return {task: service.runtime.trouble for task, service in services.items()}

    root = gateway_app(settings, desk, troubles)
    try:
        for task in settings.tasks:
            services[task] = await Service.start(task, settings, desk, f"{prefix(task)}#local")
        tops = [Mount(f"/{prefix(task)}", app=service.app) for task, service in services.items()]
        # the root is no mount: a mount does not match a path with a line break, and whoever asks must meet a guard
        yield Router(tops, redirect_slashes=False, default=root)
    finally:
        await asyncio.gather(*(service.close() for service in services.values()))


async def serve_here(settings: ServeSettings, ready: asyncio.Event) -> None:
    """Serve until cancelled, or until a signal ends the process. `ready` is set once requests are answered. Raises
    ConfigError also for an address that cannot be listened on, before anything is loaded."""
    import uvicorn

    with listening_at(settings.host, settings.port) as door:
        async with local_app(settings) as app:
            config = uvicorn.Config(
                app,
                ws="none",
                proxy_headers=False,
                lifespan="off",
                log_config=None,  # its own closes every log handler of the process
                log_level="warning",
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=round(settings.drain_s),
            )
            server = uvicorn.Server(config)
            serving = asyncio.create_task(server.serve(sockets=[door]))
            try:
                while not server.started and not serving.done():
                    await asyncio.sleep(0.02)
                if server.started:
                    ready.set()
                await asyncio.shield(serving)  # it ends in order, also where this is cancelled
            except asyncio.CancelledError:
                server.should_exit = True
                await serving
                raise
