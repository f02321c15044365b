"""Fixtures that the tests of lora, bases, tasks and the engine share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.engine import toy


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Toy products are too small to share among threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def toy_bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A folder of each architecture."""
    root = tmp_path_factory.mktemp("bases")
    return {kind: toy.make_base(root / kind, kind) for kind in toy.KINDS}
