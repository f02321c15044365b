"""The server's log: one file, a line an entry."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from serve.logs import log_to
from tuner.errors import StoreError


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    logs = [logging.getLogger(name) for name in ("serve", "uvicorn")]
    before = [(list(log.handlers), log.level, log.propagate) for log in logs]
    yield
    for log, (handlers, level, propagate) in zip(logs, before, strict=True):
        for handler in log.handlers:
            if handler not in handlers:
                handler.close()
        log.handlers, log.level, log.propagate = handlers, level, propagate


def test_requests_stay_json_and_the_rest_gets_time_and_level(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "serve.log"
    log_to(path)
    log_to(path)  # a second application of the process adds nothing
    logging.getLogger("serve.access").info("%s", json.dumps({"status": 200}))
    logging.getLogger("serve.hub").error("refused")
    logging.getLogger("uvicorn.error").info("started")  # said by the command itself
    logging.getLogger("uvicorn.error").warning("no HTTP")
    lines = path.read_text().splitlines()
    assert json.loads(lines[0]) == {"status": 200}
    assert lines[1].endswith("refused")
    assert " ERROR serve.hub " in lines[1]
    assert lines[2].endswith("no HTTP")
    assert len(lines) == 3


def test_a_file_that_was_moved_is_made_again(tmp_path: Path) -> None:
    path = tmp_path / "serve.log"
    log_to(path)
    path.rename(tmp_path / "serve.log.1")
    logging.getLogger("serve.hub").info("after")
    assert "after" in path.read_text()


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="cannot be written"):
        log_to(tmp_path / "file" / "serve.log")
