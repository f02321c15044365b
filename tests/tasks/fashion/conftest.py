"""The toy pipeline and the toy open_clip model, made once."""

from pathlib import Path

import pytest

from tests.tasks.fashion import toy


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy.make_base(tmp_path_factory.mktemp("pipeline"))


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy.make_clip(tmp_path_factory.mktemp("clip"))
