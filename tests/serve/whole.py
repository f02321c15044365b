"""The whole server on toy bases, listening, every application with adapters: for requests that no client would send."""

from __future__ import annotations

import contextlib
import json
import logging
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from serve import local
from serve.keys import SCOPES, create_key
from serve.service import Service
from serve.settings import ServeSettings, TaskSettings
from tests.serve import toy
from tests.serve.toy import Adapters
from tests.tasks.fashion import toy as pictures
from tests.tasks.fashion.served import make_adapters
from tests.tasks.shoe_qa import toy as chats
from tuner.registry import AdapterName, Origin, Registry

PREDICT = "/sentiment/predict"
CHAT = "/shoe-qa/v1/chat/completions"
IMAGES = "/fashion/v1/images/generations"
USER = [{"role": "user", "content": "鞋"}]
GOOD: dict[str, dict[str, Any]] = {
    PREDICT: {"text": toy.TEXTS[0]},
    CHAT: {"model": "mold", "messages": USER, "max_tokens": 2},
    IMAGES: {"prompt": "a hat", "steps": 1},
}
"""A request of each application that is answered."""
PATIENCE_S = 60.0  # after which a test gives up what it waits for


@dataclass(frozen=True)
class Made:
    """What a server is started on. The versions are those of sentiment/changed, which no good request asks for."""

    folder: Path
    bases: Mapping[str, Path]
    keys: Mapping[str, str]
    versions: tuple[str, ...]


def make(adapters: Adapters, folder: Path, outside: Path) -> Made:
    """A registry with adapters for all tasks, and keys: one of all scopes (`all`), one of each. Bases are built in
    `outside`: they go by their folders' names in answers, nothing else may."""
    talk, clip = chats.make_base(outside / "chat"), pictures.make_clip(outside / "clip")
    drawing = pictures.make_base(outside / "drawing")
    drawn = make_adapters(drawing, clip, outside / "drawn")
    said = chats.save(chats.trained(talk), outside / "said")
    registry = Registry(folder / "registry")
    bases = {"sentiment": adapters.base, "shoe_qa": talk, "fashion": drawing}
    sources = [
        ("sentiment", "reviews", adapters.folders[0]),
        *(("sentiment", "changed", source) for source in adapters.folders[1:4]),
        ("shoe_qa", "mold", said),
        ("fashion", "words", drawn["words"]),
        ("fashion", "prompts", drawn["prompts"]),
    ]
    versions = []
    for task, name, source in sources:
        origin = Origin(base_model=str(bases[task]))
        full = AdapterName(task, name)
        found = registry.promote(source, full, origin=origin, alias="champion", check=lambda _: None, by=toy.BY)
        versions += [found.version] if name == "changed" else []
    scopes = {"all": list(SCOPES), **{scope: [scope] for scope in SCOPES}}
    keys = {name: create_key(folder / "keys.json", f"key-{name}", each, 0.0)[1] for name, each in scopes.items()}
    return Made(folder, bases, keys, tuple(versions))


@dataclass(frozen=True)
class Whole:
    """A server that listens."""

    made: Made
    development: bool
    url: str
    services: list[Service]
    records: list[logging.LogRecord] = field(default_factory=list)

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        host, _, port = self.url.removeprefix("http://").partition(":")
        return host, int(port)

    def told(self, body: bytes, headers: Mapping[str, str]) -> None:
        """An answer has its id, and tells of no folder of the server."""
        assert re.fullmatch(r"[A-Za-z0-9._-]{1,64}", headers["x-request-id"])
        for folder in (self.made.folder, Path(local.__file__).parent, Path(pytest.__file__).parent):
            assert str(folder).encode() not in body
        assert b"Traceback" not in body

    def error(self, status: int, body: bytes, headers: Mapping[str, str]) -> dict[str, Any]:
        """The error of an answer, which is of the one shape."""
        self.told(body, headers)
        assert headers["content-type"] == "application/json"
        whole = json.loads(body)
        assert whole.keys() == {"error"}
        found: dict[str, Any] = whole["error"]
        assert found.keys() == {"message", "type", "param", "code"}
        assert found["message"]
        assert (found["type"] == "server_error") == (status >= 500)
        return found

    def rests(self) -> None:
        """Nothing is under way and no adapter held, within a moment."""
        deadline = time.monotonic() + PATIENCE_S
        while any(service.runtime.under_way or toy.users(service) for service in self.services):
            assert time.monotonic() < deadline, "a request is still under way"
            time.sleep(0.01)

    def quiet(self, *secrets: str) -> None:
        """The log has neither a traceback nor what was sent."""
        formatter = logging.Formatter()
        for record in self.records:
            text = formatter.format(record)
            assert record.levelno < logging.ERROR, text
            assert "Traceback" not in text, text
            assert not [secret for secret in secrets if secret in text], text


class _Log(logging.Handler):
    def __init__(self, records: list[logging.LogRecord]) -> None:
        super().__init__()
        self._records = records

    def emit(self, record: logging.LogRecord) -> None:
        self._records.append(record)


@contextlib.contextmanager
def serving(made: Made, *, development: bool) -> Iterator[Whole]:
    """All applications, as the command starts them in one process."""
    found: list[Service] = []

    class Known(Service):
        """A service that a test can look into."""

        def __init__(self, *given: Any) -> None:
            super().__init__(*given)
            found.append(self)

    settings = ServeSettings(
        registry=made.folder / "registry",
        results=made.folder,
        keys=made.folder / "keys.json",
        development=development,
        drain_s=5.0,
        tasks={task: TaskSettings(base_model=str(base), device="cpu", threads=1) for task, base in made.bases.items()},
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(local, "Service", Known)
        with toy.listening(settings) as url:
            whole = Whole(made, development, url, found)
            handler = _Log(whole.records)
            logs = (logging.getLogger(), logging.getLogger("uvicorn"))  # whose lines go no further
            access = logging.getLogger("serve.access")
            level = access.level
            access.setLevel(logging.INFO)
            for log in logs:
                log.addHandler(handler)
            try:
                yield whole
            finally:
                access.setLevel(level)
                for log in logs:
                    log.removeHandler(handler)
