"""Next-token loss under a frozen output layer, without keeping the logits of a large vocabulary.

    loss_t = logsumexp(W h_t) - (W h_t)[y_t];   dloss_t / dh_t = W^T (softmax(W h_t) - onehot(y_t))

W is frozen, so only h needs a gradient: it is computed with the loss, a few rows of logits at a time, and scaled by
the incoming gradient in the backward. Memory is that of h, not of the logits (a vocabulary of 128,000 has 60 times as
many).
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from tuner.device import logits_at_once


class _FrozenCrossEntropy(torch.autograd.Function):
    """hidden (T, H), weight (V, H), targets (T,) -> losses (T,), fp32."""

    @staticmethod
    def forward(ctx: Any, hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        losses = torch.empty(len(hidden), device=hidden.device)
        wanted = ctx.needs_input_grad[0]
        gradient = torch.empty_like(hidden) if wanted else None
        rows = max(1, logits_at_once(hidden) // len(weight))
        for start in range(0, len(hidden), rows):
            part = slice(start, start + rows)
            surprise = F.linear(hidden[part], weight).float().log_softmax(-1)  # (t, V)
            column = targets[part, None]
            losses[part] = -surprise.gather(1, column)[:, 0]
            if gradient is not None:
                # 1 is taken off in fp32: in bf16 a probability near 1 would leave nothing
                slope = surprise.exp_().scatter_add_(1, column, surprise.new_full(column.shape, -1.0))
                gradient[part] = slope.to(weight.dtype) @ weight
        ctx.save_for_backward(gradient)
        return losses

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * grads[0][:, None].to(gradient.dtype), None, None


def token_losses(hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of each token (T,) in fp32, of hidden states (T, H) under the frozen output matrix (V, H)."""
    losses: torch.Tensor = _FrozenCrossEntropy.apply(hidden, weight, targets)
    return losses
