"""The frozen models with adapters beside them: whose texts are kept, what is trained, whose weights count."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.tasks.fashion import toy
from tuner.engine.packing import Packing
from tuner.tasks.fashion.denoise import TEXT_ENCODER, UNET, Denoiser

PROMPTS = ["a red dress", "a hat", "a red dress"]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many texts each call of the text encoder reads."""
    from tuner.bases.pipeline import PictureBase

    found: list[int] = []
    real = PictureBase.encode

    def encode(self: Any, ids: torch.Tensor) -> torch.Tensor:
        found.append(len(ids))
        return real(self, ids)

    monkeypatch.setattr(PictureBase, "encode", encode)
    return found


def pack(base: Path, clip: Path, *targets: Sequence[str] | None, size: float = 0.3) -> Packing:
    """Members far from the base, with those target modules."""
    packing = toy.make_packing(base, clip)
    for number, modules in enumerate(targets):
        packing.start(toy.make_spec("abcd"[number], seed=number, rank=number + 2, target_modules=modules))
    toy.far(packing, size)
    return packing


def texts(packing: Packing, *ids: str) -> torch.Tensor:
    denoiser: Denoiser = packing.task.denoiser
    with torch.no_grad():
        return denoiser.texts(toy.pack_of(packing, *ids), [PROMPTS] * max(len(ids), 1))


def bare(packing: Packing, count: int = 1) -> torch.Tensor:
    """What the base makes of the prompts, so many times in one batch."""
    base = packing.task.base
    with torch.no_grad():
        found: torch.Tensor = base.encode(base.tokens(PROMPTS * count))
    return found


def test_texts_are_encoded_once_while_nobody_adapts_the_text_encoder(base: Path, clip: Path, asked: list[int]) -> None:
    packing = pack(base, clip, None, ["to_v"])
    asked.clear()
    found = texts(packing, "a", "b")
    assert asked == [2], "each text once"
    assert torch.equal(texts(packing, "b"), found[:3])
    assert torch.equal(texts(packing), found[3:])
    assert asked == [2]
    torch.testing.assert_close(found[:3], bare(packing))


def test_nothing_is_kept_while_one_adapts_it(base: Path, clip: Path, asked: list[int]) -> None:
    packing = pack(base, clip, None)
    texts(packing, "a")
    packing.start(toy.make_spec("b", target_modules=["q_proj"]))
    toy.far(packing)
    asked.clear()
    first = texts(packing, "a", "b")
    assert asked == [6]
    toy.far(packing, 0.5)
    assert not torch.equal(texts(packing, "a", "b")[3:], first[3:]), "they are those of the weights as they are now"
    asked.clear()
    packing.stop("b")
    texts(packing, "a")
    assert asked == [], "what the base made of them is still known"


def test_the_base_beside_adapters_of_the_text_encoder_is_the_base(base: Path, clip: Path, asked: list[int]) -> None:
    packing = pack(base, clip, ["q_proj", "fc1"])
    torch.testing.assert_close(texts(packing), bare(packing))
    asked.clear()
    texts(packing)
    assert asked == []


def test_who_does_not_adapt_the_text_encoder_reads_as_the_base(base: Path, clip: Path) -> None:
    packing = pack(base, clip, ["q_proj", "fc1", "out_proj"], ["to_q"], ["v_proj"])
    found, wanted = texts(packing, "a", "b", "c").split(3), bare(packing, 3).split(3)
    assert torch.equal(found[1], wanted[1]), "bit for bit"
    for other in (0, 2):
        assert (found[other] - wanted[other]).abs().max() > 0.01
        torch.testing.assert_close(found[other], texts(packing, "abc"[other]), rtol=1e-5, atol=1e-5)


def test_a_shape_names_the_sites_that_end_as_the_targets(base: Path, clip: Path) -> None:
    packing = toy.make_packing(base, clip)
    shape = packing.task.denoiser.shape(5, ["to_q", "conv1", "fc1"])
    assert (shape.rank, shape.full) == (5, frozenset())
    assert shape.targets == {
        site.name for site in packing.task.sites if site.name.endswith((".to_q", ".conv1", ".fc1"))
    }
    parts = {name.partition(".")[0] + "." for name in shape.targets}
    assert parts == {UNET, TEXT_ENCODER}
    assert not any(name.endswith("conv_in") for name in shape.targets)


def test_a_full_fine_tune_trains_all_of_the_unet(base: Path, clip: Path) -> None:
    packing = toy.make_packing(base, clip, space={"train": "full"})
    task = packing.task
    shape = task.denoiser.shape(5, ["to_q"])
    assert shape.targets == frozenset()
    assert shape.full == {site.name for site in task.sites}
    packing.start(toy.make_spec("a", train="full"))
    count = sum(parameter.numel() for parameter in task.base.unet.parameters())
    assert packing.store.layout.count(shape) == count
    assert all(name.startswith(UNET) for name in shape.full)
    assert not any(parameter.requires_grad for parameter in task.base.unet.parameters())


def batch(count: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(count, 4, 16, 16, generator=generator)
    return x, torch.randint(0, 1000, (count,), generator=generator), torch.randn(count, 16, 12, generator=generator)


@pytest.mark.parametrize("train", ["lora", "full"])
def test_predictions_of_a_pack_are_those_of_each(base: Path, clip: Path, train: str) -> None:
    packing = toy.make_packing(base, clip, space={"train": train})
    packing.start(toy.make_spec("a", train=train, target_modules=toy.EVERYWHERE))
    packing.start(toy.make_spec("b", train=train, seed=2, rank=7))
    fresh = packing.task.denoiser(toy.pack_of(packing, "a", "b"), [2, 3], *batch(5))
    plain = packing.task.denoiser(toy.pack_of(packing), [5], *batch(5))
    torch.testing.assert_close(fresh, plain, rtol=1e-4, atol=1e-5)
    toy.far(packing, 0.3 if train == "lora" else 0.05)
    together = packing.task.denoiser(toy.pack_of(packing, "a", "b"), [2, 3], *batch(5)).split([2, 3])
    for name, found, part in (("a", together[0], slice(0, 2)), ("b", together[1], slice(2, 5))):
        alone = packing.task.denoiser(toy.pack_of(packing, name), [len(found)], *(each[part] for each in batch(5)))
        torch.testing.assert_close(found, alone, rtol=1e-4, atol=1e-4)
        assert (found - plain[part]).abs().max() > 0.01
    assert torch.equal(packing.task.denoiser(toy.pack_of(packing), [5], *batch(5)), plain)
    assert packing.task.context.pack is None


def test_the_base_is_that_of_diffusers(base: Path, clip: Path) -> None:
    packing = pack(base, clip, toy.EVERYWHERE)
    x, times, read = batch(3)
    with torch.no_grad():
        wanted = toy.plain_pipeline(base).unet(x, times, read).sample
    torch.testing.assert_close(packing.task.denoiser(toy.pack_of(packing), [3], x, times, read), wanted)


def test_after_an_error_no_pack_is_left(base: Path, clip: Path) -> None:
    packing = pack(base, clip, None)
    x, times, read = batch(2)
    with pytest.raises(RuntimeError):
        packing.task.denoiser(toy.pack_of(packing, "a"), [2], x, times, read[..., :-1])
    assert packing.task.context.pack is None
