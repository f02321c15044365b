"""A frozen causal base in 4 bits, where the machine can: about a quarter of the memory of bf16, for a slower step.

bitsandbytes holds the linear layers as NF4 with double quantisation (Dettmers et al. 2023, arXiv:2305.14314) and
computes in the device's dtype; embeddings, norms and the output head stay as they are. It is no dependency of this
project: where it is missing, or has no kernels for the device, the base is loaded unquantised and a note says why.
"""

from __future__ import annotations

import importlib.util
import logging
from typing import Any

import torch
from torch import nn

from tuner.bases.describe import BaseFacts
from tuner.bases.load import load_causal
from tuner.device import Device

log = logging.getLogger(__name__)

PACKAGES = ("bitsandbytes", "accelerate")  # transformers needs both


def open_causal(facts: BaseFacts, device: Device, base_4bit: bool) -> tuple[nn.Module, tuple[str, ...]]:
    """The base in the device's dtype, frozen linear layers in 4 bits if asked for and possible, and notes for the user.
    In 4 bits it lies on the device and must not change its dtype, else on the CPU. Raises BaseModelError."""
    if not base_4bit:
        return load_causal(facts, device.dtype), ()
    obstacle = why_not(device)
    if obstacle:
        note = f"memory.base_4bit = True: the base is loaded unquantised, since {obstacle}"
        log.warning("%s", note)
        return load_causal(facts, device.dtype), (note,)
    return load_causal(facts, device.dtype, **_options(device)), ()


def why_not(device: Device) -> str | None:
    """What keeps this device from holding a base in 4 bits, and the cure; None if nothing does."""
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        return f"{' and '.join(missing)} cannot be found. Run: pip install {' '.join(missing)}."
    try:
        from bitsandbytes.functional import dequantize_4bit, quantize_4bit

        # small, but through the kernels that a base will use
        sample = torch.ones(64, 64, dtype=device.dtype, device=device.torch)
        found = dequantize_4bit(*quantize_4bit(sample, compress_statistics=True, quant_type="nf4"))
        broken = None if torch.equal(found, sample) else "its numbers are wrong"
    except Exception as error:
        broken = str(error).strip().split("\n")[0] or type(error).__name__
    if broken is None:
        return None
    return f"bitsandbytes does not work on {device.name} ({broken}). Use a CUDA device, or another bitsandbytes."


def _options(device: Device) -> dict[str, Any]:
    from transformers import BitsAndBytesConfig

    quantisation = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=device.dtype,
    )
    return {"quantization_config": quantisation, "device_map": {"": device.torch}}
