"""Drawing pictures from noise: DPM++ 2M on Karras' noise levels, all members of a pack in one batch.

The solver is diffusers' own (Lu et al. 2022, arXiv:2211.01095; noise levels of Karras et al. 2022, arXiv:2206.00364).
Guidance is classifier-free (Ho and Salimans 2022, arXiv:2207.12598): n + g * (c - n), with what the model says with the
negative prompt, n, and with the prompt, c. The noise a picture begins with is a function of its seed alone, so that
every adapter, the base and the saved adapter in any pipeline begin with the same.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch


def seed_of(prompt: str) -> int:
    """The seed a prompt is drawn with unless one is given: the same prompt gives the same picture."""
    return zlib.crc32(prompt.encode())


def starting_noise(seeds: Sequence[int], shape: tuple[int, int, int]) -> torch.Tensor:
    """Standard normal noise (B, C, h, w), fp32 on the CPU, as a pipeline draws it from a generator with that seed."""
    return torch.cat([torch.randn((1, *shape), generator=torch.Generator().manual_seed(seed)) for seed in seeds])


def make_scheduler(config: Mapping[str, Any]) -> Any:
    """DPM++ 2M Karras with the noise and the kind of prediction that a pipeline's scheduler config says."""
    from diffusers import DPMSolverMultistepScheduler

    return DPMSolverMultistepScheduler.from_config(
        dict(config), algorithm_type="dpmsolver++", solver_order=2, use_karras_sigmas=True,
        use_beta_sigmas=False, use_exponential_sigmas=False, lower_order_final=True,
    )  # fmt: skip


def sample(
    predict: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], scheduler: Any, steps: int, noise: torch.Tensor
) -> torch.Tensor:
    """Latents (B, C, h, w) from noise of that shape: `predict(x, time)` is the guided prediction at one time ()."""
    scheduler.set_timesteps(steps, device=noise.device)
    scheduler.set_begin_index(0)  # where several levels round to the first time, it would begin with the second
    x: torch.Tensor = noise * scheduler.init_noise_sigma
    for time in scheduler.timesteps:
        found = predict(scheduler.scale_model_input(x, time), time)
        x = scheduler.step(found, time, x, return_dict=False)[0]
    return x
