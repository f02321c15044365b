"""Gives the large buffers of a study's driver back to the system.

Ray takes 1 MiB of scratch memory for each message it writes and frees it at once. glibc learns from the first such
buffer to serve the next ones from the heap of the thread that asks, and keeps them there: each of a study's trial
threads ends up with a heap of 1.3 MB, and what is allocated behind a buffer stays scattered over it. With a fixed
threshold each buffer is a mapping of its own, gone when it is freed, and only touched pages cost anything.

Engines have processes of their own, which this does not touch: a training step allocates far too often for it.
"""

from __future__ import annotations

import contextlib
import ctypes
import sys

_M_MMAP_THRESHOLD = -3  # malloc.h
_LARGE = 128 * 1024
"""Bytes; where glibc's own threshold starts."""


def return_large_buffers() -> None:
    """From now on, for the whole process. Where malloc is not glibc's, nothing happens."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _LARGE)
