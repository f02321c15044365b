"""How far an ask for a picture may go."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuner.bases.diffusion import DiffusionFacts, describe_diffusion
from tuner.tasks.fashion.asking import Limits, PictureAsk


def facts(sample: int | None, blocks: int = 4) -> DiffusionFacts:
    """A base of these latents a side, eight pixels each."""
    unet = {"sample_size": sample, "block_out_channels": [8] * blocks}
    return replace(describe_diffusion("garment_sd"), unet=unet, vae={"block_out_channels": [8] * 4})


@pytest.mark.parametrize(
    ("sample", "blocks", "wanted"),
    [
        (64, 4, Limits(64, 64, 1024)),  # Stable Diffusion 1.5
        (96, 4, Limits(64, 64, 1024)),
        (160, 4, Limits(64, 64, 1280)),
        (8, 2, Limits(16, 32, 128)),
        (None, 4, Limits(64, 64, 1024)),
    ],
)
def test_sides_go_up_to_twice_what_the_base_was_trained_for(sample: int | None, blocks: int, wanted: Limits) -> None:
    assert Limits.of(facts(sample, blocks)) == wanted


@given(st.sampled_from([8, 16, 32, 64]), st.integers(1, 20), st.integers(-5, 5000))
def test_the_side_that_a_refusal_names_is_taken(step: int, many: int, side: int) -> None:
    limits = Limits(step, max(step, 32), max(step, 32) + many * step)
    problems = list(limits.problems(PictureAsk("a", side=side)))
    allowed = limits.least <= side <= limits.most and side % step == 0
    assert bool(problems) != allowed
    for problem in problems:
        named = int(problem.cure.removeprefix("Ask for ").partition("x")[0])
        assert not list(limits.problems(PictureAsk("a", side=named)))


def test_every_mistake_is_named_at_once() -> None:
    found = Limits(8, 32, 64).problems(PictureAsk("a", seed=2**63, steps=101, side=33, guidance=float("inf")))
    assert [each.name for each in found] == ["size", "steps", "seed", "guidance"]


def test_what_is_left_out_is_no_mistake() -> None:
    assert not list(Limits(8, 32, 64).problems(PictureAsk("a")))
    assert not list(Limits(8, 32, 64).problems(PictureAsk("a", "", 2**63 - 1, 100, 64, 50.0)))
