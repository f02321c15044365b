"""A model on the hub: what is asked of it, of which commit, and that nothing pickled is downloaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

from tests.bases.test_clip import CONFIG, CPU, WEIGHTS, add_tokenizer, make_clip, refused, theirs
from tuner.bases.clip import ClipModel, check_clip

NAME = "hf-hub:some/clip"


class Hub:
    """A hub with one repository, whose files are kept by commit, as the real client does. It notes what it is asked."""

    def __init__(self, root: Path, files: Path) -> None:
        self.cache, self.files = root / "snapshots" / "c0ffee", files
        self.asked: list[tuple[str, str, str | None]] = []
        self.failure: Exception | None = None
        self.bars: list[bool] = []

    def download(self, hub_id: str, file: str, revision: str | None = None) -> str:
        self.asked.append((hub_id, file, revision))
        self.bars.append(not huggingface_hub.utils.are_progress_bars_disabled())
        if self.failure is not None:
            raise self.failure
        if not (self.files / file).is_file():
            raise EntryNotFoundError("no such file")
        self.cache.mkdir(parents=True, exist_ok=True)
        (self.cache / file).write_bytes((self.files / file).read_bytes())
        return str(self.cache / file)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    found = Hub(tmp_path / "cache", make_clip(tmp_path / "repository"))
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", found.download)
    return found


def opened(name: str) -> ClipModel:
    return ClipModel.open(name, CPU)


def test_the_check_asks_for_the_config_alone(hub: Hub) -> None:
    check_clip(NAME)
    assert hub.asked == [("some/clip", CONFIG, None)]
    assert hub.bars == [False]
    assert not huggingface_hub.utils.are_progress_bars_disabled()


def test_a_model_of_the_hub(hub: Hub) -> None:
    (hub.files / "open_clip_pytorch_model.bin").write_bytes(b"never asked for")
    clip = opened(NAME)
    assert hub.asked == [("some/clip", CONFIG, None), ("some/clip", WEIGHTS, "c0ffee")]
    assert (clip.name, clip.source) == (NAME, str(hub.cache))
    torch.testing.assert_close(clip.texts(["a red dress"]), theirs(hub.files, ["a red dress"])[1], rtol=0, atol=1e-5)


def test_a_pickle_in_the_cache_is_not_opened(hub: Hub) -> None:
    hub.cache.mkdir(parents=True)
    (hub.cache / "open_clip_pytorch_model.bin").write_bytes(b"cos\nabort\n(tR.")
    (hub.files / WEIGHTS).rename(hub.files / "open_clip_pytorch_model.safetensors")
    assert opened(NAME).width == 12
    assert [file for _, file, _ in hub.asked] == [CONFIG, WEIGHTS, "open_clip_pytorch_model.safetensors"]


def test_its_tokenizer_is_the_one_that_its_config_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = tmp_path / "elsewhere"  # a repository of its own
    elsewhere.mkdir()
    add_tokenizer(elsewhere)
    options: dict[str, Any] = {"vocab_size": 12, "context_length": 10}
    hub = Hub(tmp_path / "cache", make_clip(tmp_path / "there", hf_tokenizer_name=str(elsewhere), **options))
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", hub.download)
    clip = opened(NAME)
    add_tokenizer(hub.files)
    torch.testing.assert_close(clip.texts(["a red dress"]), theirs(hub.files, ["a red dress"])[1], rtol=0, atol=1e-5)


def test_only_pickled_weights(hub: Hub) -> None:
    (hub.files / WEIGHTS).rename(hub.files / "open_clip_pytorch_model.bin")
    said = refused(NAME, opened)
    assert f"the hub has no {WEIGHTS} of it" in said
    assert "pickled file is never opened" in said
    assert "name that folder" in said
    assert not any(file.endswith(".bin") for _, file, _ in hub.asked)


def test_no_model_of_open_clip(hub: Hub) -> None:
    (hub.files / CONFIG).unlink()
    said = refused(NAME)
    assert f"without {CONFIG}" in said
    assert "made for open_clip" in said


@pytest.mark.parametrize("error", [LocalEntryNotFoundError("offline"), OSError("no route"), ValueError("odd")])
def test_a_hub_that_cannot_be_reached(hub: Hub, error: Exception) -> None:
    hub.failure = error
    said = refused(NAME)
    assert f"cannot be asked for it ({type(error).__name__})" in said
    assert "Check the spelling and the network" in said
    assert not huggingface_hub.utils.are_progress_bars_disabled()


def test_a_hub_that_is_lost_between_config_and_weights(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    def download(hub_id: str, file: str, revision: str | None = None) -> str:
        if file != CONFIG:
            raise LocalEntryNotFoundError("gone")
        return hub.download(hub_id, file, revision)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    assert "cannot be asked for it" in refused(NAME, opened)


def test_the_real_client_offline() -> None:
    assert "'hf-hub:no-such-owner/no-such-model'" in refused("hf-hub:no-such-owner/no-such-model")


def test_damaged_weights_of_the_hub(hub: Hub) -> None:
    (hub.files / WEIGHTS).write_bytes(b"\x10\0\0\0\0\0\0\0garbage")
    assert "is damaged" in refused(NAME, opened)
