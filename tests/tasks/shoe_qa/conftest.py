"""One toy base for all tests of question answering."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tasks.shoe_qa import toy


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a toy Llama with its tokenizer and chat template."""
    return toy.make_base(tmp_path_factory.mktemp("chat") / "base")
