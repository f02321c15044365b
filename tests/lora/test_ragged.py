"""Ragged attention against attention on padded rectangles, with its gradients, in double precision."""

from __future__ import annotations

import pytest
import torch

from tuner.lora.ragged import LANES, Ragged, attention

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
