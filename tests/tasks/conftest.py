"""Toy bases are built once for all tests here, and torch computes on one thread."""

from __future__ import annotations

from tests.engine.fixtures import one_thread, toy_bases

__all__ = ["one_thread", "toy_bases"]
