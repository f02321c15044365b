"""Tests of tuner/device.py and device_host.py: the choice of devices and dtypes, on facts and on this machine."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tuner import device_host
from tuner.device import (
    Device,
    cpu_dtype,
    cuda_dtype,
    empty_cache,
    find_devices,
    fuses_attention,
    is_out_of_memory,
    memory_used_mb,
    mps_dtype,
    name_rule,
    pick,
    ray_resources,
    select_devices,
    set_threads,
    synchronize,
)
from tuner.errors import DeviceError


def made(name: str) -> Device:
    kind, _, index = name.partition(":")
    return Device(name, kind, int(index or 0), "fp32", "", 1000.0, f"a {kind}")


THERE = [made("cuda:0"), made("cuda:1"), made("cpu")]


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        (["cuda"], ["cuda:0", "cuda:1"]),
        (["cuda:1"], ["cuda:1"]),
        (["cpu", "cuda"], ["cpu", "cuda:0", "cuda:1"]),
        (["cuda", "cuda:1"], ["cuda:0", "cuda:1"]),
    ],
)
def test_names_pick_devices_in_their_order(names: list[str], chosen: list[str]) -> None:
    assert [device.name for device in pick(names, THERE)] == chosen


def test_every_wrong_name_is_told_with_what_is_there() -> None:
    with pytest.raises(DeviceError) as caught:
        pick(["cuda:7", "tpu", "mps", "cpu"], THERE)
    message = str(caught.value)
    assert "cuda:7 is not there" in message
    assert "'tpu' is no device" in message
    assert "mps is not there" in message
    assert "cuda:0 (a cuda), cuda:1 (a cuda), cpu (a cpu)" in message
    assert "auto" in message
    with pytest.raises(DeviceError, match="names no device"):
        pick([], THERE)


@pytest.mark.parametrize("name", ["cuda", "cuda:0", "cuda:12", "mps", "cpu"])
def test_names_that_can_be_devices(name: str) -> None:
    assert name_rule(name) is None


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:-1", "cuda:x", "CPU", "", "cpu ", "cuda:0\n"])
def test_names_that_cannot(name: str) -> None:
    assert "use cuda, cuda:N, mps or cpu" in (name_rule(name) or "")


@pytest.mark.parametrize(
    ("found", "dtype", "word"),
    [
        (cuda_dtype((9, 0)), "bf16", "9.0"),
        (cuda_dtype((8, 0)), "bf16", "8.0"),
        (cuda_dtype((7, 5)), "fp32", "no bf16"),
        (cuda_dtype((7, 5), "fp16"), "fp16", "asks"),
        (cuda_dtype((9, 0), "fp32"), "fp32", "asks"),
        (mps_dtype((15, 1)), "fp32", "MPS"),
        (mps_dtype((14, 0), "bf16"), "bf16", "asks"),
        (cpu_dtype({"avx512_bf16": True, "avx2": True}), "bf16", "avx512_bf16"),
        (cpu_dtype({"amx_bf16": True}), "bf16", "amx_bf16"),
        (cpu_dtype({"avx512_bf16": False, "avx512_f": True}), "fp32", "no bf16"),
        (cpu_dtype({}), "fp32", "no bf16"),
        (cpu_dtype({}, "bf16"), "bf16", "slowly"),
        (cpu_dtype({"amx_bf16": True}, "bf16"), "bf16", "asks"),
        (cpu_dtype({"amx_bf16": True}, "fp32"), "fp32", "asks"),
    ],
)
def test_a_dtype_comes_with_its_reason(found: tuple[str, str], dtype: str, word: str) -> None:
    assert found[0] == dtype
    assert word in found[1]


def test_a_precision_that_the_hardware_lacks_is_an_error_with_a_cure() -> None:
    with pytest.raises(DeviceError, match=r"7\.5 has no bf16.*--precision fp32"):
        cuda_dtype((7, 5), "bf16")
    with pytest.raises(DeviceError, match=r"macOS 14.*--precision fp32"):
        mps_dtype((13, 6), "bf16")
    with pytest.raises(DeviceError, match=r"CPU cannot train in fp16.*--precision fp32"):
        cpu_dtype({"avx512_bf16": True}, "fp16")
    with pytest.raises(DeviceError, match="must be auto, fp32, bf16, fp16"):
        cpu_dtype({}, "fp8")


def test_this_machine_has_a_cpu() -> None:
    device = find_devices()[-1]
    assert (device.name, device.kind, device.index) == ("cpu", "cpu", 0)
    assert device.torch == torch.device("cpu")
    assert device.dtype == {"bf16": torch.bfloat16, "fp32": torch.float32}[device.dtype_name]
    assert device.memory_mb > 100
    assert "thread" in device.label
    assert device.reason


def test_the_cpu_can_be_chosen_and_forced() -> None:
    (device,) = select_devices(["cpu"], "fp32")
    assert (device.name, device.dtype) == ("cpu", torch.float32)
    assert select_devices("cpu") == select_devices(["cpu"])
    with pytest.raises(DeviceError, match="fp16"):
        select_devices(["cpu"], "fp16")


def test_auto_takes_the_best_kind_there_is() -> None:
    there = find_devices()
    assert select_devices() == select_devices(["auto"]) == [each for each in there if each.kind == there[0].kind]


def test_a_device_that_is_not_there_is_an_error() -> None:
    with pytest.raises(DeviceError, match=r"cuda:99 is not there.*This machine has .*cpu"):
        select_devices(["cuda:99"])


def test_threads_are_set() -> None:
    before = torch.get_num_threads()
    try:
        set_threads(1)
        assert torch.get_num_threads() == 1
    finally:
        set_threads(before)
    with pytest.raises(ValueError, match="at least 1"):
        set_threads(0)


def test_memory_in_use_grows_with_what_is_held() -> None:
    (device,) = select_devices(["cpu"])
    before = memory_used_mb(device)
    held = torch.ones(64 * 2**20 // 4)
    synchronize(device)
    assert memory_used_mb(device) - before > 50
    assert held.sum() > 0
    empty_cache(device)


def test_running_out_of_memory_is_known_by_class_word_and_cause() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60)
    assert is_out_of_memory(caught.value)
    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert is_out_of_memory(RuntimeError("MPS backend out of memory (MPS allocated: 1 GB)"))
    wrapped = ValueError("training failed")
    wrapped.__cause__ = MemoryError()
    assert is_out_of_memory(wrapped)
    assert not is_out_of_memory(RuntimeError("shapes do not match"))
    assert not is_out_of_memory(ValueError("out of memory"))


@pytest.mark.parametrize(("device", "length", "fuses"), [("cpu", 512, False), ("cpu", 513, True), ("meta", 1, True)])
def test_attention_is_fused_but_on_short_rows_of_a_cpu(device: str, length: int, fuses: bool) -> None:
    assert fuses_attention(torch.empty(1, device=device), length) is fuses


def test_what_an_actor_asks_of_ray() -> None:
    assert ray_resources(made("cuda:1")) == {"GPU": 1}
    assert ray_resources(made("mps")) == {"mps": 1}
    assert ray_resources(made("cpu"), 2) == {"CPU": 2}
    assert ray_resources(made("cpu")) == {"CPU": device_host.cores()}


def test_a_containers_limits_count(tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text("100000 100000\n")
    (tmp_path / "memory.max").write_text(f"{512 * 2**20}\n")
    assert device_host.cores(tmp_path) == 1
    assert device_host.memory_mb(tmp_path) == 512
    (tmp_path / "cpu.max").write_text("50000 100000\n")
    assert device_host.cores(tmp_path) == 1
    (tmp_path / "cpu.max").write_text("max 100000\n")
    (tmp_path / "memory.max").write_text("max\n")
    assert device_host.cores(tmp_path) == device_host.cores(tmp_path / "nowhere") >= 1
    assert device_host.memory_mb(tmp_path) == device_host.memory_mb(tmp_path / "nowhere") > 512


def test_importing_device_and_config_is_light() -> None:
    code = "import sys, tuner.config_file, tuner.score; assert not {'torch', 'ray', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[1])


@pytest.mark.gpu
def test_an_accelerator_is_found_and_used() -> None:
    device = select_devices()[0]
    assert device.kind in ("cuda", "mps")
    if device.kind == "cuda":
        assert device.dtype_name == ("bf16" if torch.cuda.get_device_capability(0) >= (8, 0) else "fp32")
        assert select_devices(["cuda"]) == [each for each in find_devices() if each.kind == "cuda"]
    before = memory_used_mb(device)
    held = torch.ones(16 * 2**20 // 4, device=device.torch)
    synchronize(device)
    assert memory_used_mb(device) - before >= 15
    assert 16 < memory_used_mb(device) + 16 < device.memory_mb
    assert float(held[0]) == 1.0
    del held
    empty_cache(device)
    assert memory_used_mb(device) - before < 1


@pytest.mark.gpu
def test_an_accelerator_that_runs_out_of_memory_says_so() -> None:
    device = select_devices()[0]
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**42, device=device.torch)
    assert is_out_of_memory(caught.value)


@pytest.mark.gpu
def test_an_accelerator_and_the_cpu_mix() -> None:
    kind = select_devices()[0].kind
    assert [device.kind for device in select_devices([kind, "cpu"])][-2:] == [kind, "cpu"]
