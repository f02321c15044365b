"""A trained adapter as a folder: PEFT's two files, the base's tokenizer with its chat template, and tuner.json."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from tuner.bases.chat import ChatFormat
from tuner.bases.describe import BaseFacts
from tuner.lora.adapter import save_peft


def save_adapter(
    directory: Path,
    tensors: Mapping[str, torch.Tensor],
    params: Mapping[str, Any],
    *,
    facts: BaseFacts,
    chat: ChatFormat,
    modules: Sequence[str],
    targets: Sequence[str],
    max_length: int,
    new_tokens: int,
    system: str,
) -> None:
    """Write it. `modules` are all that may carry LoRA, `targets` those that do; `system` is what every conversation of
    the training rows begins with, "" where they do not agree."""
    save_peft(
        directory,
        tensors,
        base=facts.name,
        revision=facts.revision,
        modules=modules,
        targets=targets,
        full=(),
        all_linear=modules,
        rank=int(params["rank"]),
        alpha=float(params["alpha"]),
        dropout=float(params["dropout"]),
        task_type="CAUSAL_LM",
    )
    for path in chat.files:
        shutil.copyfile(path, directory / path.name)
    details = {
        "task": "shoe_qa",
        "base_model": facts.name,
        "max_length": max_length,
        "new_tokens": new_tokens,
        "system": system,
    }
    (directory / "tuner.json").write_text(json.dumps(details, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
