"""A service of one task, listening, all in one event loop of a thread of its own."""

from __future__ import annotations

import asyncio
import socket
import threading
from typing import Any, Self

import uvicorn

from serve.desk import Desk
from serve.service import Service
from serve.settings import ServeSettings


class Server:
    """Serves while its context lasts. `service` is there from its beginning."""

    def __init__(self, task: str, settings: ServeSettings) -> None:
        self._task, self._settings = task, settings
        self._door = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self._door.getsockname()[1]}"
        self.service: Service | None = None
        self._up = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._up.wait(120)
        assert self.service is not None
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join()
        self._door.close()

    def watch(self, base: Any) -> None:
        """Called with the base before the first request."""

    async def _serve(self) -> None:
        try:
            self.service = await Service.start(self._task, self._settings, Desk(), "one")
            self.watch(self.service.runtime.base)
            config = uvicorn.Config(self.service.app, lifespan="off", ws="none", log_config=None, access_log=False)
            self._server = uvicorn.Server(config)
        finally:
            self._up.set()
        await self._server.serve(sockets=[self._door])
        await self.service.close()
