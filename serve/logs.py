"""Where a server's log goes: one file beside the results, to which every replica of the machine adds lines.

Requests and shadow comparisons are JSON lines already; everything else gets its time and level. The file is opened
again when it was moved away, so that logrotate may.
"""

from __future__ import annotations

import logging
from logging.handlers import WatchedFileHandler
from pathlib import Path

from serve.problems import quoted
from tuner.errors import StoreError

_AS_THEY_ARE = ("serve.access", "serve.shadow")
_LEVELS = {"serve": logging.INFO, "uvicorn": logging.WARNING}


class _Lines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        """One line, whatever the message holds."""
        if record.name in _AS_THEY_ARE:
            return record.getMessage()
        return super().format(record).replace("\r", " ")


def log_to(path: Path) -> None:
    """Write what the package and its HTTP server log to a file, in this process. Raises StoreError if it cannot be
    written."""
    if any(isinstance(each, WatchedFileHandler) for each in logging.getLogger("serve").handlers):
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handler = WatchedFileHandler(path, encoding="utf-8")
    except OSError as error:
        raise StoreError(f"the log {quoted(str(path))} cannot be written: {error.strerror}.") from error
    handler.setFormatter(_Lines("%(asctime)s %(levelname)s %(name)s %(process)d %(message)s"))
    for name, level in _LEVELS.items():
        log = logging.getLogger(name)
        log.addHandler(handler)
        log.setLevel(level)
        log.propagate = False
