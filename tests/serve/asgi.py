"""Asking an ASGI application directly, and over a real socket."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import uvicorn

from serve.problems import App, Message, Receive, Scope, Send

Pairs = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Answer:
    """What came back. `headers` holds the last of each name."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def error(self) -> dict[str, Any]:
        """The error that the body tells."""
        found: dict[str, Any] = json.loads(self.body)["error"]
        return found


def http_scope(method: str, path: str, headers: Pairs = (), **more: Any) -> Scope:
    """A scope as a server makes it."""
    pairs = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    return {"type": "http", "method": method, "path": path, "headers": pairs, "client": ("127.0.0.1", 5), **more}


async def asked(app: App, scope: Scope, *messages: Message) -> Answer:
    """The answer to a request whose body comes as these messages; after them the client waits for ever."""
    coming = [*messages]
    sent: list[Message] = []

    async def receive() -> Message:
        if coming:
            return coming.pop(0)
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: Message) -> None:
        sent.append(message)

    await app(scope, receive, send)
    status = sent[0]["status"] if sent else 0
    headers = {name.decode(): value.decode() for name, value in (sent[0]["headers"] if sent else ())}
    return Answer(status, headers, b"".join(message.get("body", b"") for message in sent[1:]))


def ask(app: App, method: str, path: str, headers: Pairs = (), body: bytes | None = None, **more: Any) -> Answer:
    """The answer to a request. A body is sent as JSON unless the headers say otherwise."""
    pairs = [*headers]
    if body is not None:
        names = {name.lower() for name, _ in pairs}
        if "content-type" not in names:
            pairs.append(("content-type", "application/json"))
        if "content-length" not in names:
            pairs.append(("content-length", str(len(body))))
    message = {"type": "http.request", "body": body or b"", "more_body": False}
    return asyncio.run(asked(app, http_scope(method, path, pairs, **more), message))


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """An application that answers with what it was given: the length of the body, the state."""
    message = await receive()
    assert not message["more_body"]
    told = json.dumps({"length": len(message["body"]), "state": scope["state"]}).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": told})


@contextmanager
def listening(app: App) -> Iterator[tuple[str, int]]:
    """The address of a real server for the time of a test."""
    with socket.create_server(("127.0.0.1", 0)) as door:
        config = uvicorn.Config(app, lifespan="off", ws="none", log_config=None, access_log=False)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [door]}, daemon=True)
        thread.start()
        try:
            yield door.getsockname()
        finally:
            server.should_exit = True
            thread.join()


def reply(connection: socket.socket) -> Answer:
    """One whole answer off a socket."""
    with connection.makefile("rb") as file:
        status = int(file.readline().split()[1])
        headers: dict[str, str] = {}
        while (line := file.readline().strip()) != b"":
            name, _, value = line.decode("latin-1").partition(": ")
            headers[name.lower()] = value
        if headers.get("transfer-encoding") == "chunked":
            body = b""
            while size := int(file.readline(), 16):
                body += file.read(size)
                file.readline()
            file.readline()
        else:
            body = file.read(int(headers["content-length"]))
    return Answer(status, headers, body)
