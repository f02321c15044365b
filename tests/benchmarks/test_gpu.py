"""The gpu benchmark's two sides do the same work, and without a GPU it says so."""

from __future__ import annotations

import copy
import json

import pytest
import torch

from tests.benchmarks import gpu
from tests.conftest import accelerator_missing
from tuner.lora.adapter import peft_names

CPU = torch.device("cpu")
COUNT, BATCH, LENGTH, STEPS = 3, 2, 9, 10


@pytest.fixture
def sides() -> tuple[gpu.Sequential, gpu.Packed, torch.Tensor]:
    """Both sides in fp32 on one tiny base, and rows (COUNT, BATCH, LENGTH)."""
    base = gpu.llama(gpu.QUICK_LLAMA, torch.float32, CPU)
    rows = torch.randint(gpu.QUICK_LLAMA["vocab_size"], (COUNT, BATCH, LENGTH))
    return gpu.Sequential(copy.deepcopy(base)), gpu.Packed(base, CPU, COUNT), rows


def test_losses_and_gradients_equal_those_of_peft(sides: tuple[gpu.Sequential, gpu.Packed, torch.Tensor]) -> None:
    sequential, packed, rows = sides
    # with B at zero, as adapters begin, A would have no gradient and no say in the loss
    packed.store.weights.normal_(std=0.1)
    _, losses = packed.forward_backward(rows)
    assert len({round(loss, 3) for loss in losses}) == COUNT
    for slot in range(COUNT):
        sequential.load(packed.store.tensors(slot))
        assert sequential.forward_backward(rows[slot]).item() == pytest.approx(losses[slot], abs=1e-5)
        mine = peft_names(packed.store.layout.trimmed(packed.store.gradients[slot], packed.shape))
        assert len(mine) == 2 * 2 * gpu.QUICK_LLAMA["num_hidden_layers"]
        for name, weight in sequential.trained.items():
            assert weight.grad is not None
            largest = weight.grad.abs().max()  # those of a query are small: rows of random tokens are alike to it
            assert largest > 0
            torch.testing.assert_close(mine[name] / largest, weight.grad / largest, rtol=0, atol=1e-5, msg=name)
            weight.grad = None


def test_both_sides_learn_the_same(sides: tuple[gpu.Sequential, gpu.Packed, torch.Tensor]) -> None:
    sequential, packed, rows = sides
    together = [packed.step(rows) for _ in range(STEPS)]
    assert all(last < first - 0.01 for first, last in zip(together[0], together[-1], strict=True))
    for slot in range(COUNT):
        sequential.load(packed.first_weights[slot])
        alone = [sequential.step(rows[slot]).item() for _ in range(STEPS)]
        assert alone == pytest.approx([losses[slot] for losses in together], abs=1e-4)
    packed.reset()
    assert [packed.step(rows) for _ in range(2)] == together[:2]


def test_without_a_gpu_it_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    if accelerator_missing() is None:
        pytest.skip("there is a GPU, on which the benchmark would run")
    with pytest.raises(SystemExit) as ended:
        gpu.main([])
    assert ended.value.code == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == (
        "The gpu benchmark needs a CUDA or MPS device, and this machine has none; --quick shows on any that it runs.\n"
    )


@pytest.mark.slow
def test_a_quick_run_ends_with_its_keys(capsys: pytest.CaptureFixture[str]) -> None:
    gpu.main(["--quick"])
    keys = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert keys.pop("quick") is True
    assert set(keys) == {
        "pack32_vs_sequential", "pack32_samples_per_second", "sequential_samples_per_second", "parameters_m"
    }  # fmt: skip
