"""The driver's heap: a large buffer is a mapping of its own, also after glibc has seen one freed."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import ctypes, re, sys
from pathlib import Path
from tuner.study.heap import return_large_buffers

libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
if sys.argv[1] == "with":
    return_large_buffers()
libc.free(ctypes.c_void_p(libc.malloc(1 << 20)))
address = libc.malloc(1 << 20)
heap = re.search(r"^([0-9a-f]+)-([0-9a-f]+) .*[[]heap[]]$", Path("/proc/self/maps").read_text(), re.M)
print(int(heap[1], 16) <= address < int(heap[2], 16))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
@pytest.mark.parametrize(("how", "in_the_heap"), [("without", "True"), ("with", "False")])
def test_large_buffers_leave_the_heap(how: str, in_the_heap: str) -> None:
    command = [sys.executable, "-c", PROGRAM, how]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
    assert done.stdout.strip() == in_the_heap
