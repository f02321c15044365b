"""A web server on this machine that answers as it is told and keeps what it was sent, for tests of the webhook."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.servers import serving


class Receiver:
    """What arrived: the parsed bodies, and the paths that were asked for. `answers` are the status codes of the next
    requests, 200 when they are used up; a code of 0 waits for `released` and then answers 200."""

    def __init__(self, answers: list[int]) -> None:
        self.answers = answers
        self.bodies: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self.types: list[str | None] = []
        self.released = threading.Event()
        self.url = ""


@contextlib.contextmanager
def receiver(*answers: int, location: str = "") -> Iterator[Receiver]:
    """The server, while it runs. `location` is where an answer of 3xx points."""
    held = Receiver(list(answers))

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            held.bodies.append(json.loads(body))
            held.types.append(self.headers["Content-Type"])
            self._answer()

        def do_GET(self) -> None:
            self._answer()

        def _answer(self) -> None:
            held.paths.append(f"{self.command} {self.path}")
            code = held.answers.pop(0) if held.answers else 200
            if code == 0:
                held.released.wait(30)
                code = 200
            with contextlib.suppress(OSError):  # who waited too long has gone
                self.send_response(code)
                if location:
                    self.send_header("Location", location)
                self.send_header("Content-Length", "0")
                self.end_headers()

        def log_message(self, *args: Any) -> None:
            """Say nothing."""

    with serving(Handler, held.released) as held.url:
        yield held
