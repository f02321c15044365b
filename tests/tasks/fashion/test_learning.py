"""What is learnt from: noise, targets and weights against diffusers' own scheduler and the formulas of the papers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from diffusers import DDPMScheduler
from hypothesis import given, settings
from hypothesis import strategies as st

from tuner.lora.packed import Member
from tuner.tasks.fashion.learning import Noised, Noising

SETTINGS = settings(deadline=None, derandomize=True, max_examples=40)
SHAPE = (4, 3, 3)
CONFIGS = [
    {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "prediction_type": "epsilon"},
    {"beta_start": 0.00085, "beta_end": 0.02, "beta_schedule": "scaled_linear", "prediction_type": "v_prediction"},
    {"beta_schedule": "squaredcos_cap_v2", "num_train_timesteps": 200, "prediction_type": "v_prediction"},
]


def member(seed: int = 1, step: int = 0, **params: Any) -> Member:
    return Member(0, 1.0, seed=seed, step=step, params=params)


def latents(count: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, *SHAPE, generator=torch.Generator().manual_seed(seed))


def noise_of(config: dict[str, Any], members: Sequence[Member], rows: Sequence[torch.Tensor]) -> torch.Tensor:
    """The noise alone: what a model of epsilon is to find."""
    return Noising({**config, "prediction_type": "epsilon"}).train(members, rows).targets


def same(ours: Noised, theirs: Noised) -> bool:
    return all(torch.equal(getattr(ours, name), getattr(theirs, name)) for name in ("x", "targets", "times", "weights"))


@pytest.mark.parametrize("config", CONFIGS)
def test_noise_and_targets_are_those_of_diffusers(config: dict[str, Any]) -> None:
    x, members = latents(9), [member(7, 3)]
    found = Noising(config).train(members, [x])
    noise, scheduler = noise_of(config, members, [x]), DDPMScheduler.from_config(config)
    torch.testing.assert_close(found.x, scheduler.add_noise(x, noise, found.times))
    wanted = noise if config["prediction_type"] == "epsilon" else scheduler.get_velocity(x, noise, found.times)
    torch.testing.assert_close(found.targets, wanted)
    assert torch.equal(found.weights, torch.ones(9))
    assert abs(noise.mean()) < 0.3
    assert 0.8 < noise.std() < 1.2


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("gamma", [1.0, 5])
def test_weights_are_those_of_min_snr(config: dict[str, Any], gamma: float) -> None:
    found = Noising(config).train([member(snr_gamma=gamma)], [latents(12)])
    kept = DDPMScheduler.from_config(config).alphas_cumprod.double()[found.times]
    snr = kept / (1 - kept)
    by = snr if config["prediction_type"] == "epsilon" else snr + 1
    torch.testing.assert_close(found.weights.double(), snr.minimum(torch.tensor(float(gamma))) / by, rtol=1e-3, atol=0)
    assert found.weights.min() < 0.9 * found.weights.max()


@given(st.integers(1, 130), st.integers(0, 2**31), st.integers(0, 10**6))
@SETTINGS
def test_times_are_one_in_each_part_of_the_range(count: int, seed: int, step: int) -> None:
    times = Noising(CONFIGS[0]).train([member(seed, step)], [latents(count)]).times
    for place, time in enumerate(times.tolist()):
        assert place * 1000 / count - 1 < time <= min((place + 1) * 1000 / count, 999)


@given(st.lists(st.tuples(st.integers(0, 2**40), st.integers(0, 9), st.integers(1, 5)), min_size=1, max_size=4))
@SETTINGS
def test_what_a_member_draws_does_not_depend_on_its_company(each: list[tuple[int, int, int]]) -> None:
    noising = Noising(CONFIGS[1])
    members = [member(seed, step, offset_noise=0.1 * (seed % 2), snr_gamma=5.0) for seed, step, _ in each]
    rows = [latents(count, place) for place, (_, _, count) in enumerate(each)]
    together = noising.train(members, rows)
    alone = [noising.train([one], [x]) for one, x in zip(members, rows, strict=True)]
    for name in ("x", "targets", "times", "weights"):
        assert torch.equal(getattr(together, name), torch.cat([getattr(part, name) for part in alone]))


def test_seed_and_step_decide_what_is_drawn() -> None:
    noising, x = Noising(CONFIGS[0]), latents(3)
    found = noising.train([member(4, 2)], [x])
    torch.manual_seed(99)
    assert same(noising.train([member(4, 2)], [x]), found)
    for other in (member(5, 2), member(4, 3)):
        drawn = noising.train([other], [x])
        assert not torch.equal(drawn.targets, found.targets)
        assert not torch.equal(drawn.times, found.times)


def test_offset_noise_shifts_whole_channels() -> None:
    x = latents(40)
    plain, one, two = (noise_of(CONFIGS[0], [member(offset_noise=size)], [x]) for size in (0.0, 0.1, 0.2))
    shift = one - plain
    torch.testing.assert_close(shift, shift[:, :, :1, :1].expand_as(shift), rtol=0, atol=1e-6)
    torch.testing.assert_close(two - plain, 2 * shift, rtol=0, atol=1e-6)
    assert shift[:, :, 0, 0].std() == pytest.approx(0.1, rel=0.2)
    config = CONFIGS[1]
    found = Noising(config).train([member(offset_noise=0.1)], [x])
    torch.testing.assert_close(found.x, DDPMScheduler.from_config(config).add_noise(x, one, found.times))


def test_no_offset_and_none_draw_the_same() -> None:
    noising, x = Noising(CONFIGS[0]), latents(4)
    assert same(noising.train([member()], [x]), noising.train([member(offset_noise=None, snr_gamma=None)], [x]))


@pytest.mark.parametrize("config", CONFIGS)
def test_what_is_fixed_is_fixed(config: dict[str, Any]) -> None:
    noising, x = Noising(config), latents(5)
    torch.manual_seed(1)
    found = noising.fixed(x)
    after = torch.rand(1)
    torch.manual_seed(1)
    assert torch.equal(torch.rand(1), after), "torch's own random state stays as it was"
    assert same(noising.fixed(x), found)
    steps = config.get("num_train_timesteps", 1000)
    assert found.times.tolist() == [int((place + 0.5) * steps / 5) for place in range(5)]
    assert torch.equal(found.weights, torch.ones(5))
    noise = Noising({**config, "prediction_type": "epsilon"}).fixed(x).targets
    torch.testing.assert_close(found.x, DDPMScheduler.from_config(config).add_noise(x, noise, found.times))


def test_the_kind_of_prediction_is_epsilon_unless_it_is_said() -> None:
    assert Noising({}).kind == "epsilon"
    for kind in ("sample", "flow_prediction"):
        with pytest.raises(ValueError, match=f"prediction_type = '{kind}': only epsilon and v_prediction"):
            Noising({"prediction_type": kind})
