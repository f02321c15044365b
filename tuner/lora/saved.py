"""Reads an adapter's PEFT folder, as `adapter.save_peft` writes it, into tensors under our names. Safetensors only.

Knows PEFT's plain LoRA with modules trained in full; refuses what would be computed otherwise (DoRA, rsLoRA, biases,
ranks by pattern, a base that PEFT would change first), with the reason.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from tuner.errors import StoreError
from tuner.lora.layouts import matching
from tuner.lora.parameters import AdapterShape, Site, tensor_shapes
from tuner.lora.table import Opened

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
_PREFIX = "base_model.model."
_PARTS = {"lora_A.weight": "A", "lora_B.weight": "B", "weight": "weight", "bias": "bias"}
_PLAIN = (
    "use_dora",
    "use_rslora",
    "use_qalora",
    "use_bdlora",
    "fan_in_fan_out",
    "rank_pattern",
    "alpha_pattern",
    "lora_bias",
    "layer_replication",
    "alora_invocation_tokens",
    "arrow_config",
    "kasa_config",
    "monteclora_config",
    "velora_config",
)
_LARGEST = 1e6  # alpha: far beyond what any is, and NaN is not below it
_KEEPING = (True, False, "gaussian", "orthogonal", "eva")  # ways to begin that leave the base as it is


def read_peft(folder: Path, sites: Sequence[Site], details: Mapping[str, Any]) -> Opened:
    """The adapter in a folder, in fp32 on the CPU. Every tensor must belong to a site and have its sizes, every LoRA
    module have both halves, every module trained in full be there. Raises StoreError."""
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        rank, alpha = _strength(config)
        tensors: dict[str, torch.Tensor] = {}
        for name, value in load_file(folder / WEIGHTS).items():
            own = _name(name)
            if own in tensors or not value.is_floating_point():
                raise ValueError(f"{name[:80]!r} is there twice" if own in tensors else f"{name[:80]!r} is no numbers")
            tensors[own] = value.float()
    except (OSError, ValueError, LookupError, TypeError, SafetensorError, RecursionError) as error:
        raise StoreError(f"{folder} is not a saved adapter: {error}.") from error
    named = {name.rpartition(".")[0] for name in tensors}
    known = {site.name: site for site in sites}
    if unknown := sorted(named - set(known)):
        raise StoreError(f"{folder} does not fit its base, which has no {unknown[0]}.")
    full = frozenset(site.name for site in sites if site.full)
    shape = AdapterShape(rank, frozenset(named | _asked(config, known)) - full, full)
    wanted = tensor_shapes(sites, shape)
    if missing := sorted(wanted.keys() - tensors.keys()):
        raise StoreError(f"{folder} is incomplete: {missing[0]} is not in it.")
    if extra := sorted(tensors.keys() - wanted.keys()):
        raise StoreError(f"{folder} does not fit its base, which trains no {extra[0]}.")
    for name, value in tensors.items():
        if tuple(value.shape) != wanted[name]:
            raise StoreError(f"{folder}: {name} has the sizes {tuple(value.shape)}, and {wanted[name]} fit.")
        if not bool(value.isfinite().all()):
            raise StoreError(f"{folder}: {name} holds numbers that are not finite.")
    return Opened(shape, alpha / rank, tensors, dict(details))


def _strength(config: Any) -> tuple[int, float]:
    """Rank and alpha. Raises ValueError where they make no sense, or where more than they is needed to compute the
    adapter."""
    if not isinstance(config, dict) or config.get("peft_type") != "LORA":
        raise ValueError("its config is not that of a LoRA")
    unusual = [name for name in _PLAIN if config.get(name)]
    unusual += ["bias"] if config.get("bias", "none") != "none" else []
    unusual += ["init_lora_weights"] if config.get("init_lora_weights", True) not in _KEEPING else []
    if unusual:
        raise ValueError(f"it is no plain LoRA ({', '.join(unusual)})")
    rank, alpha = config.get("r"), config.get("lora_alpha")
    if not isinstance(rank, int) or isinstance(rank, bool) or rank < 1:
        raise ValueError(f"its rank is {rank!r:.40}")
    if not isinstance(alpha, int | float) or isinstance(alpha, bool) or not abs(alpha) <= _LARGEST:
        raise ValueError(f"its alpha is {alpha!r:.40}")
    return rank, float(alpha)


def _asked(config: Mapping[str, Any], modules: Iterable[str]) -> set[str]:
    """Modules that the config names, all of which are adapted; none where it names them in ways that say less."""
    targets = config.get("target_modules")
    fewer = config.get("exclude_modules") or config.get("layers_to_transform") is not None
    if fewer or not isinstance(targets, list):
        return set()
    return set(matching(list(modules), [str(target) for target in targets]))


def _name(peft: str) -> str:
    """PEFT's name of a tensor as ours: `base_model.model.` before, lora_A.weight behind."""
    for end, part in _PARTS.items():
        if peft.startswith(_PREFIX) and peft.endswith(f".{end}"):
            module = peft[len(_PREFIX) : -len(end) - 1]
            # PEFT itself writes modules_to_save under either name
            return f"{module.removesuffix('.modules_to_save.default')}.{part}"
    raise ValueError(f"{peft[:80]!r} is no tensor of a LoRA")
