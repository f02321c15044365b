"""Gradient checkpointing: a decoder layer keeps its input alone, and computes the rest again in the backward pass.

PyTorch's own non-reentrant checkpoint does it (Chen et al. 2016, arXiv:1604.06174): one more forward a step, for the
activations of one layer instead of all. Packed layers find their adapters in the `PackContext`, which is empty by the
time of the backward pass: each layer notes the pack of its forward and puts it back for the second one. That comes out
the same, since dropout masks are functions of seed, step and place; no random state is kept. The gradients of A and B
are added by the backward pass, which runs once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from tuner.lora.packed import PackContext


def checkpoint_layers(layers: nn.Module, context: PackContext) -> None:
    """Make every child of `layers` recompute itself wherever gradients are asked for; elsewhere nothing changes. The
    modules stay what they are, under the same names. A layer must be a function of its arguments and the pack."""
    for layer in layers.children():
        layer.forward = _recomputed(layer.forward, context)


def _recomputed(forward: Callable[..., Any], context: PackContext) -> Callable[..., Any]:
    def run(*args: Any, **kwargs: Any) -> Any:
        if not torch.is_grad_enabled():
            return forward(*args, **kwargs)
        pack = context.pack

        def with_pack(*args: Any, **kwargs: Any) -> Any:
            before, context.pack = context.pack, pack
            try:
                return forward(*args, **kwargs)
            finally:
                context.pack = before

        return checkpoint(with_pack, *args, use_reentrant=False, preserve_rng_state=False, **kwargs)

    return run
