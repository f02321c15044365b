"""A frozen linear layer's two products, y = x W^T + b and the gradient g W, with W laid out once for both.

A CPU computes a product faster from weights in the blocked order of its matrix kernels (oneDNN): 8 to 10 % in bf16 on
the base's own shapes, measured, since else they are reordered at every call, and 10 to 40 % in fp32. The price is
memory, another copy of W for each of the two products, so fp32 is blocked only where nothing learns (in PyTorch's
inference mode), as in a server. Everywhere else these are PyTorch's plain products. A layer that bitsandbytes holds in
4 bits runs its own forward, and its gradient meets W spread out for that one product. Knows nothing of adapters; W must
not change.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from tuner.device import blocks_frozen_weights

_ROWS = 1024  # tokens of a usual step: the blocked order is chosen for products of about this many rows


class Frozen:
    """The products of one frozen `nn.Linear`, wherever and in whatever dtype that lies when it is first used."""

    def __init__(self, linear: nn.Linear) -> None:
        self._linear = linear
        self._blocked: dict[str, torch.Tensor] = {}
        self._made_for: tuple[int, torch.dtype] | None = None
        if hasattr(linear, "support_avx512bf16_for_cpu"):
            # the first forward on such a CPU would reorder the 4-bit weights in place, for inference alone: then they
            # cannot be spread out again
            linear.support_avx512bf16_for_cpu = False  # type: ignore[assignment]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x (T, in) -> (T, out)."""
        blocked = self._blocks("forward")
        if blocked is None:
            return self._linear.forward(x)
        y: torch.Tensor = torch.ops.mkldnn._linear_pointwise(x, blocked, self._linear.bias, "none", [], "")
        return y

    def backward(self, g: torch.Tensor) -> torch.Tensor:
        """g (T, out) -> (T, in)."""
        blocked = self._blocks("backward")
        if blocked is None:
            return g @ self._spread_out(g.dtype)
        gx: torch.Tensor = torch.ops.mkldnn._linear_pointwise(g.contiguous(), blocked, None, "none", [], "")
        return gx

    def _spread_out(self, dtype: torch.dtype) -> torch.Tensor:
        """W (out, in)."""
        weight = self._linear.weight
        state = getattr(weight, "quant_state", None)
        if state is None:
            return weight
        from bitsandbytes.functional import dequantize_4bit

        spread: torch.Tensor = dequantize_4bit(weight.data, state)
        return spread.to(dtype)

    def _blocks(self, product: str) -> torch.Tensor | None:
        """The blocked weights of one of the products, made when it first runs; None where plain ones serve."""
        weight = self._linear.weight
        key = (weight.data_ptr(), weight.dtype)
        if self._made_for != key:
            self._made_for, self._blocked = key, {}
        if product not in self._blocked and blocks_frozen_weights(
            weight, learning=not torch.is_inference_mode_enabled()
        ):
            with torch.no_grad():
                given = weight.detach() if product == "forward" else weight.detach().t().contiguous()
                self._blocked[product] = torch.ops.mkldnn._reorder_linear_weight(given, _ROWS)
        return self._blocked.get(product)


class FrozenLinear(torch.autograd.Function):
    """x (T, in) -> (T, out) through a `Frozen`; the gradient goes to x alone."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, frozen: Frozen) -> torch.Tensor:
        ctx.frozen = frozen
        return frozen.forward(x)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, None]:
        return ctx.frozen.backward(grads[0]), None
