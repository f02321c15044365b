"""What all tests share: the markers `gpu` and `slow` skip with a reason, and nothing is downloaded."""

from __future__ import annotations

import os
import signal
from functools import cache

import pytest

from tuner.device import COMPUTE_ENVIRONMENT

# Before any test imports a library that reads it: a test that needs the network fails at once instead of hanging.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
for name, value in COMPUTE_ENVIRONMENT.items():
    os.environ.setdefault(name, value)
# A shell lets what it starts in the background ignore Ctrl-C, and so would every program that a test interrupts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@cache
def accelerator_missing() -> str | None:
    """Why tests marked `gpu` cannot run here; None if they can."""
    import torch

    if torch.cuda.is_available() or torch.backends.mps.is_available():
        return None
    return "needs a CUDA or MPS device, and this machine has none"


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what this machine, or the person in front of it, cannot run."""
    if item.get_closest_marker("slow") and os.environ.get("TUNER_FAST") == "1":
        pytest.skip("slow, and TUNER_FAST=1 asks for the fast tests only")
    if item.get_closest_marker("gpu") and (reason := accelerator_missing()):
        pytest.skip(reason)
