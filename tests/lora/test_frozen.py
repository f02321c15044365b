"""A frozen layer's products against PyTorch's own, in the order they are laid out in and across a change of dtype."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tuner.device import blocks_frozen_weights
from tuner.lora.frozen import Frozen, FrozenLinear

TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 2e-2}


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("rows", [1, 7, 64])
def test_products_and_gradient_are_those_of_linear(dtype: torch.dtype, bias: bool, rows: int) -> None:
    torch.manual_seed(0)
    linear = nn.Linear(48, 32, bias=bias).to(dtype).requires_grad_(False)
    mine, theirs = (torch.randn(rows, 48).to(dtype).requires_grad_() for _ in range(2))
    theirs.data.copy_(mine.data)
    g = torch.randn(32, rows).to(dtype).t()  # not contiguous
    y = FrozenLinear.apply(mine, Frozen(linear))
    expected = F.linear(theirs, linear.weight, linear.bias)
    torch.testing.assert_close(y, expected, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])
    y.backward(g)
    expected.backward(g)
    torch.testing.assert_close(mine.grad, theirs.grad, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])


def test_weights_that_moved_to_another_dtype_are_laid_out_again() -> None:
    linear = nn.Linear(16, 16).requires_grad_(False)
    frozen = Frozen(linear)
    x = torch.randn(4, 16)
    assert torch.equal(frozen.forward(x), F.linear(x, linear.weight, linear.bias))
    linear.to(torch.bfloat16)
    y = frozen.forward(x.bfloat16())
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y, F.linear(x.bfloat16(), linear.weight, linear.bias), rtol=2e-2, atol=2e-2)


def test_rows_do_not_meet() -> None:
    linear = nn.Linear(32, 32).to(torch.bfloat16).requires_grad_(False)
    frozen = Frozen(linear)
    x = torch.randn(6, 32).bfloat16()
    spoilt = x.clone()
    spoilt[2] = torch.nan
    clean, other = frozen.forward(x), frozen.forward(spoilt)
    assert other[2].isnan().all()
    kept = [0, 1, 3, 4, 5]
    assert torch.equal(clean[kept], other[kept])


def test_fp32_is_laid_out_where_nothing_learns_and_says_the_same() -> None:
    torch.manual_seed(0)
    linear = nn.Linear(48, 32).requires_grad_(False)
    frozen = Frozen(linear)
    x = torch.randn(7, 48)
    with torch.inference_mode():
        y = frozen.forward(x)
    assert not torch.backends.mkldnn.is_available() or set(frozen._blocked) == {"forward"}
    torch.testing.assert_close(y, F.linear(x, linear.weight, linear.bias), rtol=1e-5, atol=1e-6)


def test_only_bf16_on_a_cpu_is_laid_out_for_learning() -> None:
    assert not blocks_frozen_weights(torch.zeros(2, 2))
    assert not blocks_frozen_weights(torch.zeros(2, 2, device="meta"), learning=False)
    assert not blocks_frozen_weights(torch.zeros(2, 2, dtype=torch.float16))
    assert not blocks_frozen_weights(torch.zeros(2, 2, dtype=torch.bfloat16, device="meta"))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("learns_before", [False, True])
def test_a_layer_in_4_bits_is_that_of_its_rounded_weights(dtype: torch.dtype, learns_before: bool) -> None:
    bnb = pytest.importorskip("bitsandbytes", reason="4-bit layers need bitsandbytes")
    torch.manual_seed(0)
    layer = bnb.nn.Linear4bit(128, 64, compute_dtype=dtype, quant_type="nf4").to(dtype).eval()
    given = layer.weight.data.clone()
    layer.to("cpu").requires_grad_(False)
    frozen = Frozen(layer)
    rounded = bnb.functional.dequantize_4bit(layer.weight.data, layer.weight.quant_state)
    assert 0 < (rounded - given).abs().max() < 0.2 * given.abs().max()
    frozen.forward(torch.randn(3, 128).to(dtype))  # as in generation, before any gradient is asked for
    x = torch.randn(5, 128).to(dtype).requires_grad_(learns_before)
    anchored = x if learns_before else x.clone().requires_grad_()
    y = FrozenLinear.apply(anchored, frozen)
    expected = F.linear(x, rounded, layer.bias)
    torch.testing.assert_close(y, expected, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])
    g = torch.randn(5, 64).to(dtype)
    y.backward(g)
    torch.testing.assert_close(anchored.grad, g @ rounded, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])
