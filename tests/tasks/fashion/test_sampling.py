"""Drawing from noise: the noise a pipeline begins with, Karras' levels, and DPM++ 2M written out."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.tasks.fashion import toy
from tuner.tasks.fashion.sampling import make_scheduler, sample, seed_of, starting_noise

LINEAR = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
CONFIGS: list[dict[str, Any]] = [
    {"_class_name": "PNDMScheduler", "skip_prk_steps": True, "steps_offset": 1, **LINEAR},
    {**LINEAR, "use_karras_sigmas": False, "prediction_type": "v_prediction", "algorithm_type": "sde-dpmsolver++"},
    {"beta_schedule": "squaredcos_cap_v2", "solver_order": 3, "timestep_spacing": "trailing"},
]


def predict(x: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
    """Something smooth that depends on both."""
    return 0.8 * torch.tanh(1.5 * x) + 0.3 * torch.cos(3 * x + time / 500)


def karras(scheduler: Any, steps: int) -> np.ndarray:
    """Karras et al. 2022, equation 5, between the weakest and the strongest noise of the scheduler; rho is 7."""
    kept = scheduler.alphas_cumprod
    low, high = (float(((1 - value) / value).sqrt()) for value in (kept[0], kept[-1]))
    place = np.arange(steps) / max(steps - 1, 1)
    return np.append((high ** (1 / 7) + place * (low ** (1 / 7) - high ** (1 / 7))) ** 7, 0.0)


def by_hand(scheduler: Any, steps: int, noise: torch.Tensor, kind: str) -> torch.Tensor:
    """DPM++ 2M (Lu et al. 2022, algorithm 2) in the form with x = x0 + sigma * noise, the last step of first order."""
    sigmas = karras(scheduler, steps)
    scheduler.set_timesteps(steps)
    x = noise.double() * math.sqrt(1 + sigmas[0] ** 2)
    before, last = None, 0.0
    for place, time in enumerate(scheduler.timesteps):
        sigma, following = float(sigmas[place]), float(sigmas[place + 1])
        kept = 1 / math.sqrt(1 + sigma**2)
        found = predict((x * kept).float(), time).double()
        clean = x - sigma * found if kind == "epsilon" else kept * (kept * x) - sigma * kept * found
        if following == 0:
            return clean
        step = math.log(sigma / following)
        guess = clean if before is None else clean + (clean - before) * step / (2 * last)
        x = following / sigma * x + (1 - following / sigma) * guess
        before, last = clean, step
    raise AssertionError("the last level is 0")


def test_the_noise_is_what_a_pipeline_draws(base: Path) -> None:
    pipe = toy.plain_pipeline(base)
    seeds = [0, 7, 2**32 - 1]
    ours = starting_noise(seeds, (4, toy.SIDE // 2, toy.SIDE // 2))
    for number, seed in enumerate(seeds):
        generator = torch.Generator().manual_seed(seed)
        theirs = pipe.prepare_latents(1, 4, toy.SIDE, toy.SIDE, torch.float32, torch.device("cpu"), generator)
        assert torch.equal(ours[number : number + 1] * make_scheduler(pipe.scheduler.config).init_noise_sigma, theirs)


@given(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=4))
def test_the_noise_of_a_picture_is_a_function_of_its_seed_alone(seeds: list[int]) -> None:
    together = starting_noise(seeds, (2, 3, 3))
    assert torch.equal(together, torch.cat([starting_noise([seed], (2, 3, 3)) for seed in seeds]))


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("steps", [2, 20])
def test_noise_levels_are_those_of_karras(config: dict[str, Any], steps: int) -> None:
    scheduler = make_scheduler(config)
    scheduler.set_timesteps(steps)
    np.testing.assert_allclose(scheduler.sigmas.numpy(), karras(scheduler, steps), rtol=1e-5, atol=1e-6)
    assert len(scheduler.timesteps) == steps


@pytest.mark.parametrize("config", CONFIGS)
def test_a_scheduler_keeps_what_the_pipeline_says_of_noise(config: dict[str, Any]) -> None:
    scheduler = make_scheduler(config)
    assert scheduler.config.prediction_type == config.get("prediction_type", "epsilon")
    assert scheduler.config.beta_schedule == config["beta_schedule"]
    assert (scheduler.config.algorithm_type, scheduler.config.solver_order) == ("dpmsolver++", 2)


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("steps", [3, 25])
def test_sampling_is_the_loop_written_by_hand(config: dict[str, Any], steps: int) -> None:
    scheduler, noise = make_scheduler(config), starting_noise([1, 2], (2, 4, 4))
    found = sample(predict, scheduler, steps, noise)
    wanted = by_hand(make_scheduler(config), steps, noise, str(scheduler.config.prediction_type))
    torch.testing.assert_close(found.double(), wanted, rtol=1e-4, atol=1e-4)
    assert torch.equal(sample(predict, scheduler, steps, noise), found), "nothing is left of the run before"
    assert (found - sample(predict, scheduler, steps + 1, noise)).abs().max() > 1e-3


def test_a_seed_is_the_same_everywhere() -> None:
    assert [seed_of(prompt) for prompt in ("", "a red dress", "Ä")] == [0, 2769119594, 1272697163]
