"""Devices: which there are, which dtype each trains in and why, their memory; the only file that names cuda, mps, cpu.

Torch is imported inside functions, so that the config and the command line can read names without it. What dtype a
device gets is decided by small functions on plain facts (`cuda_dtype`, `mps_dtype`, `cpu_dtype`), so that the decision
is tested where the device is not. Knows nothing of models, tasks or Ray (but for the names of Ray's resources).
"""

from __future__ import annotations

import ctypes
import platform
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tuner import device_host as host
from tuner.errors import DeviceError

if TYPE_CHECKING:
    import torch

KINDS = ("cuda", "mps", "cpu")
"""Kinds of device, best first."""

COMPUTE_ENVIRONMENT = {
    # GNU OpenMP lets a thread that waits for the others spin on its core. Where anything else runs there, the thread it
    # waits for gets no core to go on: two training threads beside one busy process were more than ten times slower.
    # With a short spin they sleep instead. Read when torch is first imported.
    "GOMP_SPINCOUNT": "20000",
    # glibc asks the kernel for huge pages, where it has them (2.35 and later; others ignore it): batches of ever
    # different sizes touch fresh memory at every step. On a CPU 5 % faster in training and 9 % in evaluation. Read when
    # a process starts, so it acts in the processes that this one starts.
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
}
"""What processes that compute have in their environment; a value that the user set stays."""

PRECISIONS = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}
"""Names of dtypes in configs, and what torch calls them."""

_MB = 2**20
_OOM_WORDS = ("out of memory", "can't allocate memory", "not enough memory", "CUBLAS_STATUS_ALLOC_FAILED")


@dataclass(frozen=True)
class Device:
    """One device. `name` is "cuda:0", "mps" or "cpu"; `dtype_name` ("bf16", "fp16", "fp32") is that of the frozen base,
    and `reason` a sentence why; `memory_mb` is all its memory in MiB; `label` says what it is, as in "AMD EPYC, 2
    threads"."""

    name: str
    kind: str
    index: int
    dtype_name: str
    reason: str
    memory_mb: float
    label: str

    # `dtype` stands first: after the property `torch`, that name means the property inside this class.
    @property
    def dtype(self) -> torch.dtype:
        """The torch dtype of the frozen base."""
        import torch

        found: torch.dtype = getattr(torch, PRECISIONS[self.dtype_name])
        return found

    @property
    def torch(self) -> torch.device:
        """The device as torch knows it."""
        import torch

        return torch.device(self.name)


def kind_of_device(name: str) -> str:
    """The kind in a device's name: "cuda" of "cuda:1"."""
    return name.partition(":")[0]


def name_rule(name: str) -> str | None:
    """Why this cannot be the name of a device; None if it can. Whether it is there is another question."""
    if re.fullmatch(r"cuda(:\d{1,3})?|mps|cpu", name):
        return None
    return f"{name!r} is no device: use cuda, cuda:N, mps or cpu"


def find_devices(precision: str = "auto") -> list[Device]:
    """All devices of this machine, best first; the last is always the CPU. Raises DeviceError if `precision` ("auto",
    "fp32", "bf16", "fp16") does not work on one of them."""
    return [with_precision(device, precision) for device in [*_cuda_devices(), *_mps_devices(), _cpu_device()]]


def select_devices(wanted: str | Sequence[str] = "auto", precision: str = "auto") -> list[Device]:
    """The devices to use: "auto" takes all CUDA devices, else MPS, else the CPU; names take what they say, in their
    order ("cuda" is every CUDA device). Raises DeviceError with what is there, when something named is not."""
    names = [wanted] if isinstance(wanted, str) else list(wanted)
    there = find_devices()
    chosen = [device for device in there if device.kind == there[0].kind] if names == ["auto"] else pick(names, there)
    return [with_precision(device, precision) for device in chosen]


def with_precision(device: Device, precision: str) -> Device:
    """The device with the dtype that `precision` gives it. Raises DeviceError if it cannot."""
    import torch

    if device.kind == "cuda":
        dtype, reason = cuda_dtype(torch.cuda.get_device_capability(device.index), precision)
    elif device.kind == "mps":
        dtype, reason = mps_dtype(tuple(int(part) for part in platform.mac_ver()[0].split(".") if part), precision)
    else:
        dtype, reason = cpu_dtype(torch.cpu.get_capabilities(), precision)
    return replace(device, dtype_name=dtype, reason=reason)


def pick(names: Sequence[str], there: Sequence[Device]) -> list[Device]:
    """Those of the devices `there` that `names` name, each once. Raises DeviceError for all names that match none."""
    if not names:
        raise DeviceError("devices = []: names no device. Leave it out to use the best there is.")
    wrong = [rule for rule in (name_rule(name) for name in names) if rule]
    chosen: dict[str, Device] = {}
    for name in names:
        found = [device for device in there if name in (device.name, device.kind)]
        chosen.update({device.name: device for device in found})
        if not found and name_rule(name) is None:
            wrong.append(f"{name} is not there")
    if wrong:
        have = ", ".join(f"{device.name} ({device.label})" for device in there)
        said = f"devices = {list(names)}: {'; '.join(wrong)}"
        raise DeviceError(f"{said}. This machine has {have}: use one of these or auto.")
    return list(chosen.values())


def cuda_dtype(capability: tuple[int, int], precision: str = "auto") -> tuple[str, str]:
    """Dtype and reason for a CUDA device of this compute capability. Raises DeviceError for a precision it lacks."""
    shown = f"compute capability {capability[0]}.{capability[1]}"
    if precision == "auto":
        if capability >= (8, 0):
            return "bf16", f"{shown} multiplies bf16 in hardware, at half the memory of fp32 and with its range"
        return "fp32", f"{shown} has no bf16, and fp16 may lose small gradients (--precision fp16 takes that risk)"
    if precision == "bf16" and capability < (8, 0):
        raise DeviceError(f"precision = 'bf16': {shown} has no bf16 (8.0 has). Use --precision fp32 or auto.")
    return _forced(precision)


def mps_dtype(macos: tuple[int, ...], precision: str = "auto") -> tuple[str, str]:
    """Dtype and reason for Apple's MPS under this version of macOS. Raises DeviceError for a precision it lacks."""
    if precision == "auto":
        return "fp32", "every MPS kernel has it, and half precision is not known to be faster there"
    if precision == "bf16" and macos < (14,):
        raise DeviceError("precision = 'bf16': MPS has bf16 from macOS 14 on. Use --precision fp32 or auto.")
    return _forced(precision)


def cpu_dtype(capabilities: Mapping[str, Any], precision: str = "auto") -> tuple[str, str]:
    """Dtype and reason for a CPU with these capabilities (torch's names). Raises DeviceError for fp16."""
    having = [name for name in ("amx_bf16", "avx512_bf16", "sve_bf16", "arm_bf16", "bf16") if capabilities.get(name)]
    if precision == "auto":
        if having:
            return "bf16", f"this CPU multiplies bf16 in hardware ({having[0]}), at half the memory of fp32"
        return "fp32", "this CPU has no bf16 instructions, so bf16 would be slower than fp32"
    if precision == "fp16":
        raise DeviceError("precision = 'fp16': a CPU cannot train in fp16. Use --precision fp32, bf16 or auto.")
    if precision == "bf16" and not having:
        return "bf16", "the config asks for it; this CPU has no bf16 instructions and emulates them slowly"
    return _forced(precision)


def set_threads(threads: int) -> None:
    """How many threads torch computes with in this process; more than the cores it owns is many times slower."""
    import torch

    if threads < 1:
        raise ValueError(f"threads = {threads}: must be at least 1")
    torch.set_num_threads(threads)


def synchronize(device: Device) -> None:
    """Wait until the device has done all it was given, so that a clock tells the truth."""
    import torch

    if device.kind == "cuda":
        torch.cuda.synchronize(device.torch)
    elif device.kind == "mps":
        torch.mps.synchronize()


def memory_used_mb(device: Device) -> float:
    """MiB in use: tensors on a GPU; on the CPU all of this process, on macOS at its peak."""
    import torch

    if device.kind == "cuda":
        return torch.cuda.memory_allocated(device.torch) / _MB
    if device.kind == "mps":
        return torch.mps.current_allocated_memory() / _MB
    return host.process_mb()


def gpu_memory_mb(device: Device) -> float | None:
    """MiB of this process's tensors on a GPU; None for the CPU, whose memory is that of the process."""
    return None if device.kind == "cpu" else memory_used_mb(device)


def empty_cache(device: Device) -> None:
    """Hand memory that is kept for reuse back to the device, or the operating system."""
    import torch

    if device.kind == "cuda":
        torch.cuda.empty_cache()
    elif device.kind == "mps":
        torch.mps.empty_cache()
    elif sys.platform == "linux":
        # batches of ever different sizes leave glibc's heap full of holes: 5 GB over a study of MiniLM without this
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error, or what it came from, says that memory ran out. Torch has a class for CUDA only, else words."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, MemoryError) or type(seen).__name__ == "OutOfMemoryError":
            return True
        if isinstance(seen, RuntimeError) and any(words in str(seen) for words in _OOM_WORDS):
            return True
        seen = seen.__cause__
    return False


def blocks_frozen_weights(weight: torch.Tensor, *, learning: bool = True) -> bool:
    """Whether products with this matrix gain from the blocked order of oneDNN: on a CPU that computes in bf16, and for
    fp32 where nothing is learnt (10 % on one core and 25 to 40 % on two of a server's batches, measured)."""
    import torch

    if weight.device.type != "cpu" or not torch.backends.mkldnn.is_available():
        return False
    if weight.dtype == torch.float32:
        return not learning
    return weight.dtype == torch.bfloat16 and torch.ops.mkldnn._is_mkldnn_bf16_supported()


def moves_by_index(x: torch.Tensor) -> bool:
    """Whether stretches of the rows of x (T, C) are better moved by the index of every row, in one kernel, than one by
    one: on a GPU, which waits for each kernel to be launched, and for few rows on a CPU (512: up to 5 times faster on
    28 rows, 1.2 to 1.7 times slower on 3,000, measured)."""
    return x.device.type != "cpu" or x.shape[-2] <= 512


def fuses_attention(x: torch.Tensor, length: int) -> bool:
    """Whether attention over rows of up to `length` tokens gains from PyTorch's fused kernel: always on a GPU; on a CPU
    only where rows are long, since on short ones plain products are faster (bf16 1.8 times, measured)."""
    return x.device.type != "cpu" or length > 512


def logits_at_once(x: torch.Tensor) -> int:
    """How many fp32 numbers of a vocabulary's logits to hold beside `x`: 16 MB stay in a CPU's caches, a GPU wants more
    for each reading of the output matrix."""
    return 4_194_304 if x.device.type == "cpu" else 67_108_864


def trains_in_bf16(device: torch.device) -> bool:
    """Whether a whole model, weights in fp32, trains faster with products in bf16: on CUDA."""
    return device.type == "cuda"


def picture_dtype(device: Device, precision: str) -> tuple[torch.dtype, str]:
    """The dtype of a frozen picture model where a config's `precision` is "auto", and a note on it, "" where it is the
    device's own: fp32 on a CPU, whose bf16 convolutions and small attentions are slower (1.3 times, measured)."""
    import torch

    if device.kind == "cpu" and precision == "auto" and device.dtype != torch.float32:
        return torch.float32, "fp32 for the picture models: bf16 slows their convolutions on a CPU"
    return device.dtype, ""


def pictures_at_once(device: torch.device) -> tuple[int, int]:
    """How many positions of latents to pass through a UNet at once, and how many pictures of 64 x 64 pixels through a
    decoder: as many as stay in a CPU's caches (1.2 times faster than all at once, measured), a GPU wants more."""
    return (4096, 8) if device.type == "cpu" else (65536, 64)


def ray_resources(device: Device, threads: int | None = None) -> dict[str, float]:
    """What an actor on this device asks of Ray: {"GPU": 1}, {"mps": 1} or {"CPU": threads} (all there are by default).

    Ray calls an Apple GPU "GPU" too; nodes with one are started with a resource "mps" to tell them apart."""
    if device.kind == "cuda":
        return {"GPU": 1}
    if device.kind == "mps":
        return {"mps": 1}
    return {"CPU": threads or host.cores()}


def _forced(precision: str) -> tuple[str, str]:
    if precision not in PRECISIONS:
        raise DeviceError(f"precision = {precision!r}: must be auto, {', '.join(PRECISIONS)}. Leave it out for auto.")
    return precision, "the config asks for it"


def _cuda_devices() -> list[Device]:
    import torch

    if not torch.cuda.is_available():
        return []
    facts = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    return [
        Device(f"cuda:{index}", "cuda", index, "fp32", "", each.total_memory / _MB, each.name)
        for index, each in enumerate(facts)
    ]


def _mps_devices() -> list[Device]:
    import torch

    if not torch.backends.mps.is_available():
        return []
    label = f"{platform.processor() or 'Apple'} GPU"
    return [Device("mps", "mps", 0, "fp32", "", torch.mps.recommended_max_memory() / _MB, label)]


def _cpu_device() -> Device:
    import torch

    threads = host.cores()
    model = torch.cpu.get_capabilities().get("cpu_name") or platform.machine()
    label = f"{model}, {threads} thread{'s' if threads != 1 else ''}"
    return Device("cpu", "cpu", 0, "fp32", "", host.memory_mb(), label)
