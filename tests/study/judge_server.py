"""A web server on this machine that plays the API of a language model, for tests of the judge."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.servers import serving

GRADES: dict[str, Any] = {"completeness": 8, "key_data": 7.5, "semantic": 9, "readability": 10}


@dataclass(frozen=True)
class Reply:
    """What the server sends: a code, headers, a body; `slow` waits for `Judge.released` first, `drip` seconds between
    the bytes of the body."""

    code: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    slow: bool = False
    drip: float = 0.0


def says(text: str) -> Reply:
    """A model's reply of that text."""
    return Reply(body=json.dumps({"choices": [{"message": {"role": "assistant", "content": text}}]}).encode())


def graded(**changes: Any) -> Reply:
    """A model's reply of `GRADES` with changes."""
    return says(json.dumps({**GRADES, **changes}))


class Judge:
    """What arrived: bodies, what the model was to grade, headers, paths; how many replies were being made at once.
    `url` is the API's base."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.material: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.released = threading.Event()
        self.most_at_once = 0
        self.place = ""

    @property
    def url(self) -> str:
        return f"{self.place}/v1"


@contextlib.contextmanager
def judge(reply: Callable[[dict[str, Any]], Reply] | Reply, *first: Reply) -> Iterator[Judge]:
    """The server, while it runs: it gives the replies `first`, then `reply`, which may depend on what is to be
    graded."""
    held, firsts, lock = Judge(), list(first), threading.Lock()
    make = (lambda material: reply) if isinstance(reply, Reply) else reply
    now = [0]

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            material = json.loads(body["messages"][-1]["content"])
            with lock:
                held.bodies.append(body)
                held.material.append(material)
                self._note()
                now[0] += 1
                held.most_at_once = max(held.most_at_once, now[0])
                first = firsts.pop(0) if firsts else None
            answer = first or make(material)
            with lock:
                now[0] -= 1  # before it is sent: who has it may be back at once
            self._send(answer)

        def do_GET(self) -> None:
            with lock:
                self._note()
            self._send(graded())

        def _note(self) -> None:
            held.headers.append(dict(self.headers))
            held.paths.append(f"{self.command} {self.path}")

        def _send(self, answer: Reply) -> None:
            if answer.slow:
                held.released.wait(30)
            with contextlib.suppress(OSError):  # who waited too long has gone
                self.send_response(answer.code)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer.body)))
                self.end_headers()
                for byte in answer.body if answer.drip else ():
                    self.wfile.write(bytes([byte]))
                    if held.released.wait(answer.drip):
                        return
                if not answer.drip:
                    self.wfile.write(answer.body)

        def log_message(self, *args: Any) -> None:
            """Say nothing."""

    with serving(Handler, held.released) as held.place:
        yield held
