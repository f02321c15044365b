"""Checkpoints as bytes: what goes in comes out, damage is found, nothing is unpickled."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tuner.errors import StoreError
from tuner.lora.adapter import pack_checkpoint, save_peft, unpack_checkpoint

GROUPS = {
    "weights": {"a.A": torch.arange(6.0).view(2, 3), "a.B": torch.arange(8.0).view(2, 4).T},
    "best": {"a.A": torch.full((2, 3), 1 / 3)},
}
STATE = {"progress": {"samples": 7, "best_score": 0.1 + 0.2}, "trial_id": "ä"}
GOOD = pack_checkpoint(GROUPS, STATE)


def test_round_trip_is_exact() -> None:
    groups, state = unpack_checkpoint(GOOD)
    assert state == STATE
    assert groups.keys() == GROUPS.keys()
    for name, tensors in GROUPS.items():
        assert tensors.keys() == groups[name].keys()
        assert all(torch.equal(value, groups[name][key]) for key, value in tensors.items())


@settings(max_examples=150, deadline=None)
@given(st.integers(0, len(GOOD) - 1), st.integers(1, 255))
def test_one_changed_byte_is_found(at: int, change: int) -> None:
    damaged = bytearray(GOOD)
    damaged[at] ^= change
    try:
        groups, state = unpack_checkpoint(bytes(damaged))
    except StoreError:
        return
    # what still reads is what was written: a blank of the header's padding, say
    assert state == STATE
    assert all(torch.equal(value, groups[g][n]) for g, tensors in GROUPS.items() for n, value in tensors.items())


@pytest.mark.parametrize("length", [0, 1, 7, 8, 9, 100, len(GOOD) - 1])
def test_a_cut_file_is_refused(length: int) -> None:
    with pytest.raises(StoreError, match="damaged"):
        unpack_checkpoint(GOOD[:length])


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=200))
def test_any_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(StoreError):
        unpack_checkpoint(data)


@pytest.mark.parametrize("header", [b"[]", b"{}", b'{"__metadata__":3}', b'{"__metadata__":{"state":"{}"}}'])
def test_other_headers_are_refused(header: bytes) -> None:
    with pytest.raises(StoreError):
        unpack_checkpoint(len(header).to_bytes(8, "little") + header)


class Bomb:
    """Runs code where it is unpickled."""

    fuse: list[str] = []  # noqa: RUF012

    def __reduce__(self) -> tuple[Any, ...]:
        return Bomb.fuse.append, ("went off",)


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    torch.save(Bomb(), tmp_path / "bomb.pt")
    for data in (pickle.dumps(Bomb()), (tmp_path / "bomb.pt").read_bytes()):
        with pytest.raises(StoreError):
            unpack_checkpoint(data)
    assert not Bomb.fuse


def _saved(folder: Path, **changes: Any) -> dict[str, Any]:
    modules = ["m.0.attn.query", "m.0.mlp.dense"]
    options: dict[str, Any] = {
        "base": "b", "revision": None, "modules": modules, "targets": ["query"], "full": ["head"],
        "all_linear": [*modules, "pooler.dense", "head"], "rank": 2, "alpha": 16.0, "dropout": 0.1,
        "task_type": "SEQ_CLS",
    }  # fmt: skip
    tensors = {
        "m.0.attn.query.A": torch.ones(2, 3),
        "m.0.attn.query.B": torch.ones(3, 2),
        "head.weight": torch.ones(2, 3),
    }
    save_peft(folder, tensors, **{**options, **changes})
    config: dict[str, Any] = json.loads((folder / "adapter_config.json").read_text())
    return config


def test_files_can_be_read_by_all(tmp_path: Path) -> None:
    _saved(tmp_path)
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert modes == {"adapter_model.safetensors": 0o644, "adapter_config.json": 0o644}


def test_targets_are_written_so_that_peft_finds_the_same_modules(tmp_path: Path) -> None:
    assert _saved(tmp_path / "a")["target_modules"] == ["query"]
    # PEFT would find pooler.dense too, which was not trained: the full name is written
    assert _saved(tmp_path / "b", targets=["dense"])["target_modules"] == ["m.0.mlp.dense"]


def test_alpha_and_rank_as_they_were_trained(tmp_path: Path) -> None:
    whole, broken = _saved(tmp_path / "a"), _saved(tmp_path / "b", alpha=2.5)
    assert (whole["lora_alpha"], broken["lora_alpha"]) == (16, 2.5)
    assert isinstance(whole["lora_alpha"], int)
