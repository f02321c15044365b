"""Reads a saved LoRA of a picture base, as diffusers writes it and `saving.py` has it written, into tensors under our
names.

Rank and alpha stand in the file's own metadata. A file without is refused: to take alpha for the rank, as pipelines do,
draws other pictures. So is what would be computed otherwise (DoRA, rsLoRA, biases, ranks by pattern).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from tuner.errors import StoreError
from tuner.lora.layouts import matching
from tuner.lora.parameters import AdapterShape, Site
from tuner.lora.table import Opened
from tuner.tasks.fashion.denoise import TEXT_ENCODER, UNET
from tuner.tasks.fashion.saving import LORA

_TOLD = "lora_adapter_metadata"
_HALVES = {".lora_A.weight": "A", ".lora_B.weight": "B"}
_PLAIN = ("use_dora", "use_rslora", "lora_bias", "rank_pattern", "alpha_pattern", "modules_to_save")


def read_lora(
    folder: Path, sites: Sequence[Site], kernels: Mapping[str, tuple[int, int]], details: Mapping[str, Any]
) -> Opened:
    """The adapter in a folder, in fp32 on the CPU, for a base with these sites; `kernels` are those of the UNet's
    convolutions by name, as in `Denoiser`. Every tensor must belong to a site, and every module that the metadata name
    must be there. Raises StoreError."""
    known = {site.name: site for site in sites}
    try:
        with safe_open(folder / LORA, framework="pt") as file:
            told = json.loads((file.metadata() or {}).get(_TOLD, "null"))
            if not isinstance(told, dict):
                raise ValueError("its metadata do not say its rank and alpha")
            tensors: dict[str, torch.Tensor] = {}
            for name in file.keys():  # noqa: SIM118 (it is no mapping)
                module, half = _parted(name)
                if module not in known:
                    raise ValueError(f"its base has no {module[:80]}")
                kernel = kernels.get(module.removeprefix(UNET)) if module.startswith(UNET) else None
                tensors[f"{module}.{half}"] = _flat(file.get_tensor(name).float(), half, kernel, name)
        parts = [
            part
            for part in (UNET, TEXT_ENCODER)
            if told.get(f"{part}target_modules") or any(name.startswith(part) for name in tensors)
        ]
        found = {_strength(told, part) for part in parts}
        if len(found) != 1:
            raise ValueError("its parts have different ranks and alphas" if found else "it holds no tensors")
        wanted = {name for part in parts for name in _named(told, part, known)}
    except (OSError, ValueError, LookupError, TypeError, AttributeError, SafetensorError, RecursionError) as error:
        raise StoreError(f"{folder / LORA} is not a saved LoRA: {error}.") from error
    rank, alpha = found.pop()
    targets = frozenset(name.rpartition(".")[0] for name in tensors)
    halves = {f"{module}.{half}" for module in targets | wanted for half in "AB"}
    if missing := sorted(halves - set(tensors)):
        raise StoreError(f"{folder / LORA} is incomplete: {missing[0][:80]} is not in it.")
    return Opened(AdapterShape(rank, targets, frozenset()), alpha / rank, tensors, dict(details))


def _named(told: Mapping[str, Any], part: str, known: Iterable[str]) -> list[str]:
    """The modules of a part of the pipeline that the metadata name, by PEFT's rule."""
    modules = told.get(f"{part}target_modules")
    inside = [name.removeprefix(part) for name in known if name.startswith(part)]
    return [part + name for name in matching(inside, modules if isinstance(modules, list) else [])]


def _parted(name: str) -> tuple[str, str]:
    """A tensor's module under our name, and A or B."""
    for end, half in _HALVES.items():
        if name.endswith(end):
            return name.removesuffix(end), half
    raise ValueError(f"{name[:80]!r} is no half of a LoRA")


def _flat(value: torch.Tensor, half: str, kernel: tuple[int, int] | None, name: str) -> torch.Tensor:
    """A (r, in) or B (out, r) of what PEFT has: of a convolution (r, in, k, k) and (out, r, 1, 1)."""
    wanted = () if kernel is None else tuple(kernel) if half == "A" else (1, 1)
    if value.ndim < 2 or tuple(value.shape[2:]) != wanted:
        raise ValueError(f"{name} has the sizes {tuple(value.shape)}")
    return value.flatten(1)


def _strength(told: Mapping[str, Any], part: str) -> tuple[int, float]:
    """Rank and alpha of a part of the pipeline."""
    unusual = [name for name in _PLAIN if told.get(part + name)]
    if told.get(f"{part}peft_type", "LORA") != "LORA" or told.get(f"{part}bias", "none") != "none" or unusual:
        raise ValueError(f"it is no plain LoRA ({', '.join(unusual) or 'another kind, or biases'})")
    if f"{part}r" not in told or f"{part}lora_alpha" not in told:
        raise ValueError(f"its metadata do not say rank and alpha of its {part.rstrip('.')}")
    rank, alpha = int(told[f"{part}r"]), float(told[f"{part}lora_alpha"])
    if rank < 1 or not math.isfinite(alpha):
        raise ValueError(f"its rank is {rank} and its alpha {alpha}")
    return rank, alpha
