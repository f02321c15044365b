"""Toy bases are built once for all tests here, and torch computes on one thread."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.engine.fixtures import one_thread, toy_bases
from tests.serve.toy import adapters
from tuner.registry import Registry

__all__ = ["adapters", "one_thread", "toy_bases"]


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    """An empty one."""
    return Registry(tmp_path / "registry")
