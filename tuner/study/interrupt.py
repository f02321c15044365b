"""Ctrl-C and SIGTERM: the first asks the study to end cleanly, a second Ctrl-C ends it now."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType


@contextlib.contextmanager
def interruptible(stopping: threading.Event) -> Iterator[None]:
    """Within this context the first signal sets `stopping`, the next raises KeyboardInterrupt.

    Only the main thread may install handlers; elsewhere whoever started the thread owns the signals."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def on_signal(number: int, frame: FrameType | None) -> None:
        if stopping.is_set():
            raise KeyboardInterrupt
        stopping.set()

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
