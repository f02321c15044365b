"""The loss under a frozen output layer against torch's own, with its gradient."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from tuner.lora import cross_entropy
from tuner.lora.cross_entropy import token_losses

TOKENS, WIDTH, VOCABULARY = 23, 8, 50


def toy(dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Hidden states, output matrix and targets."""
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(TOKENS, WIDTH, generator=generator).to(dtype)
    weight = torch.randn(VOCABULARY, WIDTH, generator=generator).to(dtype)
    return hidden, weight, torch.randint(VOCABULARY, (TOKENS,), generator=generator)


@pytest.mark.parametrize("chunk", [1, 7 * VOCABULARY, 10**6])
def test_equals_torch_with_any_incoming_gradient(monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    """A chunk smaller than a row still takes one row; the last chunk is shorter than the others."""
    monkeypatch.setattr(cross_entropy, "logits_at_once", lambda x: chunk)
    hidden, weight, targets = toy()
    incoming = torch.randn(TOKENS)
    ours, theirs = hidden.clone().requires_grad_(), hidden.clone().requires_grad_()
    losses = token_losses(ours, weight, targets)
    expected = F.cross_entropy(theirs @ weight.T, targets, reduction="none")
    torch.testing.assert_close(losses, expected, rtol=1e-5, atol=1e-5)
    losses.backward(incoming)
    expected.backward(incoming)
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-5, atol=1e-5)


def test_no_more_logits_than_a_chunk_are_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cross_entropy, "logits_at_once", lambda x: 4 * VOCABULARY)
    sizes = []
    linear = F.linear

    def watched(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        logits = linear(x, weight)
        sizes.append(logits.numel())
        return logits

    monkeypatch.setattr(cross_entropy.F, "linear", watched)
    token_losses(*toy())
    assert sizes == [4 * VOCABULARY] * 5 + [3 * VOCABULARY]


def test_bf16_is_summed_in_fp32() -> None:
    hidden, weight, targets = toy(torch.bfloat16)
    ours, theirs = hidden.clone().requires_grad_(), hidden.float().requires_grad_()
    losses = token_losses(ours, weight, targets)
    assert losses.dtype == torch.float32
    expected = F.cross_entropy((hidden @ weight.T).float(), targets, reduction="none")
    torch.testing.assert_close(losses, expected, rtol=1e-5, atol=1e-5)
    losses.sum().backward()
    F.cross_entropy(theirs @ weight.float().T, targets, reduction="sum").backward()
    assert ours.grad is not None
    assert ours.grad.dtype == torch.bfloat16
    torch.testing.assert_close(ours.grad.float(), theirs.grad, rtol=0.05, atol=0.05)


def test_where_nobody_asks_for_a_gradient_none_is_computed() -> None:
    hidden, weight, targets = toy()
    once = 2 * TOKENS * WIDTH * VOCABULARY  # operations of one product with the output matrix
    with torch.no_grad(), FlopCounterMode(display=False) as judging:
        losses = token_losses(hidden, weight, targets)
    with FlopCounterMode(display=False) as training:
        token_losses(hidden.requires_grad_(), weight, targets)
    assert not losses.requires_grad
    assert (judging.get_total_flops(), training.get_total_flops()) == (once, 2 * once)


def test_a_token_of_nan_leaves_the_others_alone() -> None:
    hidden, weight, targets = toy()
    clean = hidden.clone().requires_grad_()
    expected = token_losses(clean, weight, targets)
    expected.sum().backward()
    hidden[4] = torch.nan
    spoiled = hidden.requires_grad_()
    losses = token_losses(spoiled, weight, targets)
    losses.sum().backward()
    rest = [token for token in range(TOKENS) if token != 4]
    assert losses[4].isnan()
    assert torch.equal(losses[rest], expected[rest])
    assert clean.grad is not None
    assert spoiled.grad is not None
    assert torch.equal(spoiled.grad[rest], clean.grad[rest])


def test_confident_tokens_keep_their_gradient_in_bf16() -> None:
    """Where the target has nearly all of the probability, what is left of the slope is small, and not nothing."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(VOCABULARY, WIDTH, generator=generator).bfloat16()
    targets = torch.arange(20)
    hidden = (weight[targets] * 2.5).detach()
    exact = hidden.double().requires_grad_()
    losses = F.cross_entropy(exact @ weight.double().T, targets, reduction="none")
    losses.sum().backward()
    ours = hidden.clone().requires_grad_()
    token_losses(ours, weight, targets).sum().backward()
    assert exact.grad is not None
    assert ours.grad is not None
    sure = losses < 0.05  # above 95 %
    assert sure.sum() > 5
    apart = (ours.grad.double() - exact.grad)[sure].norm(dim=1) / exact.grad[sure].norm(dim=1)
    assert apart.median() < 0.1
