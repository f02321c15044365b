"""Toy bases are built once for all tests here, and torch computes on one thread."""

from __future__ import annotations

from tests.engine.fixtures import one_thread, toy_bases
from tests.serve.toy import adapters

__all__ = ["adapters", "one_thread", "toy_bases"]
