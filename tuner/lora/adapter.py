"""Adapters as files: PEFT folders that plain `PeftModel.from_pretrained` opens, and checkpoints as safetensors bytes.

A checkpoint holds everything an engine needs to continue a trial: weights and their running average, Adam's moments,
counters, and the averaged weights of the best report so far. Both are safetensors; nothing is ever unpickled.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from safetensors.torch import save_file

from tuner.errors import StoreError
from tuner.lora.layouts import matching

Tensors = Mapping[str, torch.Tensor]


def peft_names(tensors: Tensors) -> dict[str, torch.Tensor]:
    """Our tensor names (module.A, module.B, module.weight) as PEFT writes them."""
    named = {}
    for name, value in tensors.items():
        module, _, part = name.rpartition(".")
        lora = {"A": "lora_A.weight", "B": "lora_B.weight"}.get(part, part)
        named[f"base_model.model.{module}.{lora}"] = value.contiguous()
    return named


def save_peft(
    directory: Path,
    tensors: Tensors,
    *,
    base: str,
    revision: str | None,
    modules: Sequence[str],
    targets: Sequence[str],
    full: Sequence[str],
    all_linear: Sequence[str],
    rank: int,
    alpha: float,
    dropout: float,
    task_type: str,
) -> None:
    """Write adapter_model.safetensors and adapter_config.json.

    `targets` are kept as the user wrote them where PEFT, which looks for them in `all_linear`, finds the same modules
    that were trained (those of `modules`); else the full names are written.
    """
    directory.mkdir(parents=True, exist_ok=True)
    trained = matching(modules, targets)
    written = list(targets) if matching(all_linear, targets) == trained else trained
    config = {
        "peft_type": "LORA",
        "task_type": task_type,
        "base_model_name_or_path": base,
        "revision": revision,
        "inference_mode": True,
        "r": rank,
        "lora_alpha": int(alpha) if float(alpha).is_integer() else alpha,
        "lora_dropout": dropout,
        "target_modules": sorted(written),
        "modules_to_save": sorted(full),
        "bias": "none",
        "fan_in_fan_out": False,
        "init_lora_weights": True,
        "use_rslora": False,
        "use_dora": False,
    }
    save_file(peft_names(tensors), directory / "adapter_model.safetensors", metadata={"format": "pt"})
    (directory / "adapter_model.safetensors").chmod(0o644)
    (directory / "adapter_config.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")


def pack_checkpoint(groups: Mapping[str, Tensors], state: Mapping[str, Any]) -> bytes:
    """Named groups of tensors (weights, average, first, second, best) and plain state as one safetensors file, with a
    digest of both."""
    flat = {
        f"{group}/{name}": value.contiguous() for group, tensors in groups.items() for name, value in tensors.items()
    }
    text = json.dumps(state)
    data: bytes = save_tensors(flat, metadata={"state": text, "sha256": _digest(flat, text)})
    return data


def unpack_checkpoint(data: bytes) -> tuple[dict[str, dict[str, torch.Tensor]], dict[str, Any]]:
    """The inverse of `pack_checkpoint`. Raises StoreError if the bytes are not one, or not as they were written."""
    try:
        size = int.from_bytes(data[:8], "little")
        metadata = json.loads(data[8 : 8 + size])["__metadata__"]
        state = json.loads(metadata["state"])
        flat = load_tensors(data)
        if metadata["sha256"] != _digest(flat, metadata["state"]):
            raise ValueError("its digest is wrong")
    except (SafetensorError, ValueError, LookupError, TypeError, RecursionError) as error:
        raise StoreError(f"a checkpoint cannot be read ({error}): it is damaged or not one of this project.") from error
    groups: dict[str, dict[str, torch.Tensor]] = {}
    for name, value in flat.items():
        group, _, rest = name.partition("/")
        groups.setdefault(group, {})[rest] = value
    return groups, state


def _digest(flat: Tensors, state: str) -> str:
    digest = hashlib.sha256(state.encode())
    for name, value in sorted(flat.items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
