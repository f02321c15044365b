"""Ragged attention against attention of each row by itself, with its gradients, in double precision."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from tuner.lora import ragged as module
from tuner.lora.ragged import LANES, Ragged, attention, causal_attention

HEADS, WIDTH = 2, 8
CPU = torch.device("cpu")


def padded_attention(q, k, v, lengths, heads, first_only):  # type: ignore[no-untyped-def]
    """One row at a time, straight from the formula; autograd does the rest."""
    outputs = []
    start = 0
    for row, length in enumerate(lengths):
        rows = slice(start, start + length)
        queries = q[row : row + 1] if first_only else q[rows]
        parts = [part.unflatten(1, (heads, -1)).transpose(0, 1) for part in (queries, k[rows], v[rows])]
        scores = parts[0] @ parts[1].transpose(1, 2) / (q.shape[1] // heads) ** 0.5
        outputs.append((scores.softmax(-1) @ parts[2]).transpose(0, 1).flatten(1))
        start += length
    return torch.cat(outputs)


@pytest.mark.parametrize("first_only", [False, True])
@pytest.mark.parametrize("lengths", [[1], [70], [5, 5, 5], [1, 70, 32, 33, 7, 31, 1, 64], [LANES, 2 * LANES]])
def test_equals_padded_attention_with_its_gradients(lengths: list[int], first_only: bool) -> None:
    generator = torch.Generator().manual_seed(len(lengths))
    total = sum(lengths)
    queries = len(lengths) if first_only else total
    shapes = [queries, total, total]
    ours = [torch.randn(n, WIDTH, generator=generator, dtype=torch.double).requires_grad_() for n in shapes]
    theirs = [part.detach().clone().requires_grad_() for part in ours]
    weight = torch.randn(queries, WIDTH, generator=generator, dtype=torch.double)

    out = attention(*ours, Ragged(lengths, CPU), HEADS, first_only=first_only)
    (out * weight).sum().backward()
    expected = padded_attention(*theirs, lengths, HEADS, first_only)
    (expected * weight).sum().backward()

    torch.testing.assert_close(out, expected, rtol=1e-12, atol=1e-12)
    for mine, reference in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine.grad, reference.grad, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("first_only", [False, True])
def test_gradcheck(first_only: bool) -> None:
    lengths = [3, 34, 1]
    generator = torch.Generator().manual_seed(1)
    shapes = [3 if first_only else 38, 38, 38]
    parts = [torch.randn(n, 4, generator=generator, dtype=torch.double).requires_grad_() for n in shapes]
    ragged = Ragged(lengths, CPU)
    assert torch.autograd.gradcheck(lambda q, k, v: attention(q, k, v, ragged, 2, first_only=first_only), parts)


@pytest.mark.parametrize("needed", [0, 1, 2])
def test_gradient_of_one_part_alone(needed: int) -> None:
    lengths = [4, 40]
    parts = [torch.randn(44, WIDTH, dtype=torch.double) for _ in range(3)]
    every = [part.clone().requires_grad_() for part in parts]
    attention(*every, Ragged(lengths, CPU), HEADS).sum().backward()
    parts[needed].requires_grad_()
    attention(*parts, Ragged(lengths, CPU), HEADS).sum().backward()
    torch.testing.assert_close(parts[needed].grad, every[needed].grad)


def test_a_row_of_nan_leaves_the_others_alone() -> None:
    lengths = [3, 20, 3, 40]
    parts = [torch.randn(66, WIDTH) for _ in range(3)]
    clean = attention(*parts, Ragged(lengths, CPU), HEADS)
    for part in parts:
        part[23:26] = torch.nan
    spoiled = attention(*parts, Ragged(lengths, CPU), HEADS)
    assert spoiled[23:26].isnan().all()
    rest = [*range(23), *range(26, 66)]
    assert torch.equal(spoiled[rest], clean[rest])


def test_positions_first_tokens_and_owners() -> None:
    ragged = Ragged([2, 1, 3], CPU)
    assert ragged.total == 6
    assert ragged.positions.tolist() == [0, 1, 0, 0, 1, 2]
    assert ragged.first.tolist() == [0, 2, 3]
    assert ragged.row_of.tolist() == [0, 0, 1, 2, 2, 2]


SCALE = 0.3  # of the causal ones, which get it from the model


@pytest.fixture(params=[False, True], ids=["plain", "fused"])
def fused(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Both ways through causal attention, whatever the device would take."""
    monkeypatch.setattr(module, "fuses_attention", lambda x, length: request.param)
    return bool(request.param)


def causal_rows(q, k, v, lengths, heads):  # type: ignore[no-untyped-def]
    """PyTorch's own, one row at a time: q (T, h * d), k and v (T, g * d)."""
    d = q.shape[1] // heads
    outputs = []
    for parts in zip(*(x.split(lengths) for x in (q, k, v)), strict=True):
        qh, kh, vh = (part.unflatten(1, (-1, d)).transpose(0, 1)[None] for part in parts)
        out = F.scaled_dot_product_attention(qh, kh, vh, is_causal=True, scale=SCALE, enable_gqa=True)
        outputs.append(out[0].transpose(0, 1).flatten(1))
    return torch.cat(outputs)


@pytest.mark.parametrize("groups", [4, 2, 1])
@pytest.mark.parametrize("lengths", [[1], [70], [5, 5, 5], [1, 70, 32, 33, 7, 31, 1, 64], [LANES, 2 * LANES]])
def test_causal_equals_each_row_alone_with_its_gradients(lengths: list[int], groups: int, fused: bool) -> None:
    generator = torch.Generator().manual_seed(len(lengths))
    heads, d, total = 4, 3, sum(lengths)
    widths = [heads * d, groups * d, groups * d]
    ours = [torch.randn(total, n, generator=generator, dtype=torch.double).requires_grad_() for n in widths]
    theirs = [part.detach().clone().requires_grad_() for part in ours]
    weight = torch.randn(total, heads * d, generator=generator, dtype=torch.double)

    out = causal_attention(*ours, Ragged(lengths, CPU), heads, SCALE)
    (out * weight).sum().backward()
    expected = causal_rows(*theirs, lengths, heads)
    (expected * weight).sum().backward()

    torch.testing.assert_close(out, expected, rtol=1e-12, atol=1e-12)
    for mine, reference in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine.grad, reference.grad, rtol=1e-12, atol=1e-12)


def test_causal_a_row_of_nan_leaves_the_others_alone(fused: bool) -> None:
    lengths = [3, 20, 3, 40]
    parts = [torch.randn(66, width) for width in (WIDTH, WIDTH // 2, WIDTH // 2)]
    weight = torch.randn(66, WIDTH)

    def run() -> tuple[torch.Tensor, ...]:
        leaves = [part.clone().requires_grad_() for part in parts]
        out = causal_attention(*leaves, Ragged(lengths, CPU), HEADS, SCALE)
        return out.detach(), *torch.autograd.grad((out * weight).sum(), leaves)

    clean = run()
    for part in parts:
        part[23] = torch.nan  # the first token of the third row, which all of that row look at
    spoiled = run()
    assert spoiled[0][23:26].isnan().all()
    rest = [*range(23), *range(26, 66)]
    for found, expected in zip(spoiled, clean, strict=True):
        assert torch.equal(found[rest], expected[rest])


def test_the_device_and_the_longest_row_decide_whether_to_fuse(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(module, "fuses_attention", lambda x, length: bool(asked.append(length)))
    causal_attention(*(torch.randn(12, WIDTH) for _ in range(3)), Ragged([3, 7, 2], CPU), HEADS, SCALE)
    assert asked == [7]
