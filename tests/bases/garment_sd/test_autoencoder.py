"""The autoencoder's guide against numpy's principal components, its measures, and that it learns."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL
from hypothesis import given, settings
from hypothesis import strategies as st

from tuner.bases.garment_sd import autoencoder
from tuner.bases.garment_sd.autoencoder import (
    CHANNELS,
    PATCH,
    Components,
    as_tensor,
    build,
    kl,
    lit,
    picture_loss,
    psnr,
    rebuilt,
)
from tuner.bases.garments.pictures import drawn
from tuner.bases.garments.sample import general

PICTURES = drawn(general(8, 24))


def patches(x: np.ndarray) -> np.ndarray:
    """Pictures (B, 3, H, W) cut into rows of 3 * 8 * 8 numbers, by a plain loop."""
    return np.stack(
        [
            picture[:, top : top + PATCH, left : left + PATCH].ravel()
            for picture in x
            for top in range(0, x.shape[2], PATCH)
            for left in range(0, x.shape[3], PATCH)
        ]
    )


def test_pictures_as_tensors_lie_between_minus_1_and_1() -> None:
    x = as_tensor(PICTURES[:2])
    assert x.shape == (2, 3, 64, 64)
    np.testing.assert_allclose((x.permute(0, 2, 3, 1).numpy() + 1) * 127.5, PICTURES[:2], atol=1e-3)


def test_components_are_those_of_numpy() -> None:
    x = as_tensor(PICTURES)
    rows = patches(x.double().numpy())
    centred = rows - rows.mean(0)
    _, sizes, directions = np.linalg.svd(centred, full_matrices=False)
    wanted = centred @ directions[:CHANNELS].T / (sizes[:CHANNELS] / math.sqrt(len(rows)))
    found = Components(x).of(x)
    assert found.shape == (24, CHANNELS, 8, 8)
    ours = found.permute(0, 2, 3, 1).reshape(-1, CHANNELS).double().numpy()
    signs = np.sign((ours * wanted).sum(0))  # a direction's own is free
    np.testing.assert_allclose(ours * signs, wanted, atol=0.02)


def test_components_are_white_on_what_they_were_found_in() -> None:
    x = as_tensor(PICTURES)
    found = Components(x).of(x).permute(1, 0, 2, 3).flatten(1)
    torch.testing.assert_close(found.mean(1), torch.zeros(CHANNELS), rtol=0, atol=1e-3)
    torch.testing.assert_close(found @ found.T / found.shape[1], torch.eye(CHANNELS), rtol=0, atol=1e-2)


@given(st.floats(0.01, 1.5), st.integers(0, 99))
@settings(deadline=None, derandomize=True)
def test_psnr_is_that_of_pictures_in_minus_1_to_1(size: float, seed: int) -> None:
    x = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    y = x + size * torch.randn(x.shape, generator=torch.Generator().manual_seed(seed + 1))
    a, b = ((each.double().numpy() + 1) / 2 for each in (x, y))
    assert psnr(y, x) == pytest.approx(20 * math.log10(1 / math.sqrt(np.mean((a - b) ** 2))), rel=1e-4)


def test_the_loss_minds_edges_and_not_the_brightness_twice() -> None:
    x = as_tensor(PICTURES[:3])
    assert picture_loss(x, x).item() == 0
    assert picture_loss(x + 0.1, x).item() == pytest.approx(0.01, rel=1e-3)
    step = torch.zeros(1, 1, 4, 4)
    step[..., 2:] = 1
    wanted = 0.5 + autoencoder.EDGES * 1 / 3  # half of the pixels, one of three differences across
    assert picture_loss(step, torch.zeros_like(step)).item() == pytest.approx(wanted)


def test_the_divergence_is_that_of_normal_distributions() -> None:
    generator = torch.Generator().manual_seed(3)
    mean, logvar = (torch.randn(2, 4, 3, 3, generator=generator) for _ in range(2))
    ours, standard = torch.distributions.Normal(mean, (logvar / 2).exp()), torch.distributions.Normal(0.0, 1.0)
    wanted = torch.distributions.kl_divergence(ours, standard).sum((1, 2, 3)).mean()
    torch.testing.assert_close(kl(mean, logvar), wanted)


def test_a_model_has_latents_of_16_channels_an_eighth_as_wide() -> None:
    model = build()
    with torch.no_grad():
        latents = model.encode(torch.zeros(1, 3, 64, 64)).latent_dist.mean
        assert latents.shape == (1, CHANNELS, 8, 8)
        assert model.decode(latents).sample.shape == (1, 3, 64, 64)


def test_pictures_in_any_light_are_still_those_pictures() -> None:
    x = as_tensor(drawn(general(8, 200), 32))
    found = lit(x, np.random.default_rng(1))
    assert (found.shape, found.dtype) == (x.shape, torch.float32)
    assert found.min() >= -1
    assert found.max() <= 1
    same = (found == x).flatten(1).all(1)
    assert 0.25 < same.float().mean() < 0.55, "two of five stay as they are"
    changed, before = found[~same], x[~same]
    colours, fewer = (each.std(1).mean() for each in (before, changed))
    assert 0.5 * colours < fewer < colours, "greyer on average"
    assert torch.equal(lit(x, np.random.default_rng(1)), found)


def test_what_is_rebuilt_is_decoded_from_the_latents(small: Any) -> None:
    x = as_tensor(PICTURES)[:, :, :16, :16].repeat(3, 1, 1, 1)
    y, z = rebuilt(small, x)
    with torch.no_grad():
        wanted = small.encode(x).latent_dist.mean
        torch.testing.assert_close(z, wanted)
        torch.testing.assert_close(y, small.decode(wanted).sample.clamp(-1, 1))


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A model of a few thousand parameters with a latent of 8 x 8 pixels, in place of the real one."""

    def make() -> Any:
        torch.manual_seed(0)
        return AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
            block_out_channels=(8, 8, 8, 16), layers_per_block=1, latent_channels=CHANNELS, norm_num_groups=4,
        )  # fmt: skip

    monkeypatch.setattr(autoencoder, "build", make)
    monkeypatch.setattr(autoencoder, "BATCH", 4)
    monkeypatch.setattr(autoencoder, "RATE", 2e-2)  # so few steps are a fraction of the warm-up
    return make().eval()


def train(steps: int, work: Any = None) -> tuple[Any, list[dict[str, float]]]:
    """A model after some steps on a few pictures, of `refine` where a model is given, and what was told."""
    told: list[dict[str, float]] = []
    rest = (PICTURES[:16], PICTURES[16:], steps, 1, torch.device("cpu"), told.append)
    model = autoencoder.refine(work, *rest, in_bf16=False) if work else autoencoder.train(*rest, in_bf16=False)
    assert not model.training
    return model, told


@pytest.mark.slow
def test_some_steps_make_pictures_clearer(small: Any) -> None:
    _, (first, blurred) = train(1)
    model, (last, clearer) = train(30)
    assert clearer["psnr"] > blurred["psnr"] + 0.5
    assert (last["step"], clearer["step"]) == (30, 30)
    assert 0.3 * first["loss"] < last["loss"] < first["loss"], "the mean of the steps since it last told"
    latents = rebuilt(model, as_tensor(PICTURES[16:]))[1] * model.config.scaling_factor
    assert float(latents.std()) == pytest.approx(1, rel=0.01)
    assert clearer["scaling_factor"] == model.config.scaling_factor


@pytest.mark.slow
def test_refining_changes_the_decoder_alone(small: Any) -> None:
    model, told = train(20)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    better, (_, after) = train(12, model)
    for name, value in better.state_dict().items():
        kept = name.startswith(("encoder.", "quant_conv."))
        assert torch.equal(value, before[name]) == kept, name
    assert better.config.scaling_factor == told[1]["scaling_factor"]
    assert after["psnr"] > told[1]["psnr"]
