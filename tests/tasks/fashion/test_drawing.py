"""Drawing in batches: the same pictures whatever fits in one, members with settings of their own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.tasks.fashion import toy
from tuner.engine.packing import Packing
from tuner.lora.packed import Pack
from tuner.tasks.fashion import drawing
from tuner.tasks.fashion.denoise import Denoiser
from tuner.tasks.fashion.sampling import seed_of

PROMPTS = ["a red dress", "a blue hat", "", "a red dress", "shoes"]


class Spy:
    """A denoiser that notes how many rows of each member it sees, and pictures are decoded."""

    def __init__(self, real: Denoiser) -> None:
        self.real, self.base = real, real.base
        self.rows: list[list[int]] = []

    def texts(self, pack: Pack, prompts: Sequence[Sequence[str]]) -> torch.Tensor:
        return self.real.texts(pack, prompts)

    def __call__(self, pack: Pack, counts: Sequence[int], *inputs: torch.Tensor) -> torch.Tensor:
        self.rows.append(list(counts))
        assert all(len(each) == sum(counts) for each in inputs)
        return self.real(pack, counts, *inputs)


@pytest.fixture(scope="module")
def packing(base: Path, clip: Path) -> Packing:
    """Two members far from the base."""
    found = toy.make_packing(base, clip)
    found.start(toy.make_spec("a"))
    found.start(toy.make_spec("b", seed=2, rank=6))
    toy.far(found)
    found.task.drawing.positions = 65536  # as many rows at once as a GPU takes
    return found


@pytest.fixture
def spy(packing: Packing, monkeypatch: pytest.MonkeyPatch) -> Spy:
    found = Spy(packing.task.denoiser)
    monkeypatch.setattr(packing.task.drawing, "denoiser", found)
    return found


def draw(packing: Packing, *ids: str, **changes: Any) -> list[list[np.ndarray]]:
    members = max(len(ids), 1)
    asked: dict[str, Any] = {"prompts": [PROMPTS] * members, "negative": "", "guidance": [2.0] * members, **changes}
    found: list[list[np.ndarray]] = packing.task.drawing.draw(toy.pack_of(packing, *ids), **asked)
    return found


def apart(ours: Sequence[np.ndarray], theirs: Sequence[np.ndarray]) -> int:
    """The furthest that two pixels are apart, in levels of 255."""
    return max(int(np.abs(a.astype(int) - b.astype(int)).max()) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("rows", [1, 2, 4, 5])
@pytest.mark.parametrize("decoded", [1, 4])
def test_pictures_do_not_depend_on_how_many_fit_in_a_batch(
    packing: Packing, spy: Spy, monkeypatch: pytest.MonkeyPatch, rows: int, decoded: int
) -> None:
    whole = draw(packing, "a", "b")
    assert spy.rows == [[10, 10]] * 3, "5 prompts and their twins, 3 steps"
    spy.rows.clear()
    monkeypatch.setattr(packing.task.drawing, "positions", rows * 2 * 2 * 16**2)
    monkeypatch.setattr(packing.task.drawing, "decoded", decoded // 4)  # of 64 x 64; none is one
    calls: list[int] = []
    real = packing.task.base.pictures
    monkeypatch.setattr(packing.task.base, "pictures", lambda x: calls.append(len(x)) or real(x))
    parts = draw(packing, "a", "b")
    assert [each for each, *_ in spy.rows] == [
        2 * min(rows, 5 - start) for start in range(0, 5, rows) for _ in range(3)
    ]
    assert sum(calls) == 10
    assert max(calls) <= decoded
    for ours, theirs in zip(whole, parts, strict=True):
        assert len(ours) == 5
        assert apart(ours, theirs) <= 1


def test_rows_of_a_batch_are_shared_among_the_members(packing: Packing) -> None:
    found = packing.task.drawing
    assert (found.side, found.latent) == (16, (4, 16, 16))
    assert [found.rows_at_once(members) for members in (0, 1, 2, 64)] == [128, 128, 64, 2]
    large = drawing.Drawing(packing.task.denoiser, 1024, 3)
    assert large.rows_at_once(4) == 1, "one at least"


def test_guidance_of_1_skips_the_unguided_twin(packing: Packing, spy: Spy) -> None:
    alone = draw(packing, "a", guidance=[1.0])[0]
    assert spy.rows == [[5]] * 3
    spy.rows.clear()
    beside = draw(packing, "a", "b", guidance=[1.0, 3.0])
    assert spy.rows == [[10, 10]] * 3
    assert apart(beside[0], alone) <= 1, "u + 1 * (c - u) is c"


def test_guidance_and_negatives_are_each_members_own(packing: Packing) -> None:
    settings = {"a": (2.0, ""), "b": (6.0, "blurry, low quality")}
    together = draw(packing, "a", "b", guidance=[2.0, 6.0], negative=["", "blurry, low quality"])
    for member, (name, (guidance, negative)) in enumerate(settings.items()):
        alone = draw(packing, name, guidance=[guidance], negative=negative)[0]
        assert apart(together[member], alone) <= 1
    assert apart(together[1], draw(packing, "b", guidance=[2.0], negative="blurry, low quality")[0]) > 1
    assert apart(together[1], draw(packing, "b", guidance=[6.0], negative="")[0]) > 1


def test_members_draw_prompts_of_their_own(packing: Packing) -> None:
    together = draw(packing, "a", "b", prompts=[PROMPTS[:2], PROMPTS[3:]])
    assert apart(together[0], draw(packing, "a", prompts=[PROMPTS[:2]])[0]) <= 1
    assert apart(together[1], draw(packing, "b", prompts=[PROMPTS[3:]])[0]) <= 1


def test_seeds_are_those_of_the_prompts_or_given(packing: Packing) -> None:
    own = draw(packing, "a")[0]
    assert np.array_equal(own[0], own[3]), "the same prompt, the same picture"
    given = draw(packing, "a", seeds=[seed_of(prompt) for prompt in PROMPTS])[0]
    assert apart(given, own) == 0
    other = draw(packing, "a", seeds=[1, 2, 3, 1, 5])[0]
    assert all(apart([ours], [theirs]) > 3 for ours, theirs in zip(other, own, strict=True))
    assert np.array_equal(other[0], other[3])


def test_seeds_go_with_their_prompts_through_all_batches(packing: Packing, monkeypatch: pytest.MonkeyPatch) -> None:
    seeds = [9, 8, 7, 6, 5]
    whole = draw(packing, "a", "b", seeds=seeds)
    monkeypatch.setattr(packing.task.drawing, "positions", 1)
    for ours, theirs in zip(whole, draw(packing, "a", "b", seeds=seeds), strict=True):
        assert apart(ours, theirs) <= 1


def test_the_base_alone_is_one_list_of_pictures(packing: Packing) -> None:
    found = draw(packing)
    assert len(found) == 1
    assert {(each.shape, each.dtype.name) for each in found[0]} == {((32, 32, 3), "uint8")}
    assert apart(found[0], draw(packing, "a")[0]) > 3
