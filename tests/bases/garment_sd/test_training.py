"""Training of the pipeline's UNet and text encoder: what it learns from, that it learns, and what is kept."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler, UNet2DConditionModel

from tests.tasks.fashion.toy import make_tokenizer
from tuner.bases.garment_sd import training
from tuner.bases.garment_sd.training import GAMMA, WIDTH, Training, build_scheduler, build_text_encoder, build_unet
from tuner.bases.garments.captions import FORMS, caption
from tuner.bases.garments.sample import general
from tuner.bases.garments.tokens import LENGTH

LOOKS = general(6, 24)
SHAPE = (16, 8, 8)


def small() -> Any:
    """A UNet of a few thousand parameters."""
    return UNet2DConditionModel(
        sample_size=8, in_channels=16, out_channels=16, layers_per_block=1, block_out_channels=(16,),
        down_block_types=("CrossAttnDownBlock2D",), up_block_types=("CrossAttnUpBlock2D",), mid_block_type=None,
        cross_attention_dim=WIDTH, attention_head_dim=2, norm_num_groups=4,
    )  # fmt: skip


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return make_tokenizer(LENGTH)


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "BATCH", 12)
    monkeypatch.setattr(training, "build_unet", small)


def latents(seed: int = 0) -> torch.Tensor:
    """Those of all looks are much alike, as those of pictures are."""
    generator = torch.Generator().manual_seed(seed)
    own = 0.2 * torch.randn(len(LOOKS), *SHAPE, generator=generator)
    return (torch.randn(1, *SHAPE, generator=generator) + own).half()


def make(tokenizer: Any, total: int = 20, seed: int = 1, x: torch.Tensor | None = None) -> Training:
    return Training(latents() if x is None else x, LOOKS, tokenizer, total, seed, torch.device("cpu"))


class Recorder(torch.nn.Module):
    """Predicts nothing, and keeps what it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[torch.Tensor, torch.Tensor]] = []

    def forward(self, x: torch.Tensor, times: torch.Tensor, texts: torch.Tensor, *, return_dict: bool) -> Any:
        assert not return_dict
        assert texts.shape == (len(x), LENGTH, WIDTH)
        self.asked.append((x, times))
        return (torch.zeros_like(x),)


def mean_loss(run: Training, times: int = 4) -> float:
    """Of so many batches, the same for every run."""
    torch.manual_seed(5)
    before, run.draw = run.draw, np.random.default_rng(5)
    with torch.no_grad():
        found = float(np.mean([run._loss().item() for _ in range(times)]))
    run.draw = before
    return found


def test_some_steps_lower_the_loss(tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "RATE", 5e-2)  # 20 steps are a tenth of the warm-up
    run = make(tokenizer)
    before = mean_loss(run)
    run.advance(20, lambda _: None)
    after = mean_loss(run)
    assert math.isfinite(after)
    assert after < 0.9 * before


def test_the_loss_is_that_of_v_weighted_by_min_snr(tokenizer: Any) -> None:
    run = make(tokenizer, x=torch.full((len(LOOKS), *SHAPE), 0.75))
    run.unet = Recorder()
    found = run._loss().item()
    noisy, times = run.unet.asked[0]
    scheduler = DDPMScheduler.from_config(build_scheduler().config)
    kept = scheduler.alphas_cumprod[times].view(-1, 1, 1, 1)
    x = torch.full_like(noisy, 0.75)
    noise = (noisy - kept.sqrt() * x) / (1 - kept).sqrt()
    assert noise.std().item() == pytest.approx(1, abs=0.05)
    snr = (kept / (1 - kept)).flatten()
    errors = scheduler.get_velocity(x, noise, times).square().mean((1, 2, 3))
    wanted = (snr.clamp(max=GAMMA) / (snr + 1) * errors).mean().item()
    assert found == pytest.approx(wanted, rel=1e-3)
    assert scheduler.config.prediction_type == "v_prediction"


def test_every_batch_meets_all_levels_of_noise(tokenizer: Any) -> None:
    run = make(tokenizer)
    run.unet = Recorder()
    for _ in range(5):
        run._loss()
    for _, times in run.unet.asked:
        for place, time in enumerate(times.tolist()):
            assert place * 1000 / 12 - 1 < time <= (place + 1) * 1000 / 12


def test_a_tenth_of_the_captions_is_empty(tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "BATCH", 400)
    run, read = make(tokenizer), []
    run.unet = Recorder()
    real = run.text.forward
    monkeypatch.setattr(run.text, "forward", lambda input_ids: read.append(input_ids) or real(input_ids=input_ids))
    with torch.no_grad():
        run._loss()
    empty = (read[0] == run.empty).all(1)
    assert 20 < empty.sum() < 65
    said = {tuple(ids) for ids in run.ids.flatten(0, 1).tolist()}
    assert {tuple(ids) for ids in read[0][~empty].tolist()} <= said


def test_captions_are_those_of_each_look_in_every_wording(tokenizer: Any) -> None:
    run = make(tokenizer)
    assert run.ids.shape == (len(LOOKS), FORMS, LENGTH)
    for look, form in ((0, 0), (7, 3), (23, FORMS - 1)):
        ids = tokenizer(caption(LOOKS[look], form), padding="max_length", max_length=LENGTH, truncation=True).input_ids
        assert run.ids[look, form].tolist() == ids


def test_what_is_kept_is_the_average_of_the_weights(tokenizer: Any) -> None:
    run = make(tokenizer)
    average = {name: value.detach().clone() for name, value in run.unet.state_dict().items()}
    text = {name: value.detach().clone() for name, value in run.text.state_dict().items()}
    for step in range(1, 5):
        run.advance(1, lambda _: None)
        keep = min(0.9995, 1 - 10 / (step + 10))
        for mean, model in ((average, run.unet), (text, run.text)):
            for name, value in model.state_dict().items():
                mean[name] = keep * mean[name] + (1 - keep) * value if value.is_floating_point() else value
    for mean, model, last in zip((average, text), run.kept(), (run.unet, run.text), strict=True):
        assert not model.training
        for name, value in model.state_dict().items():
            torch.testing.assert_close(value, mean[name], rtol=1e-4, atol=1e-6)
        assert any(not torch.equal(value, last.state_dict()[name]) for name, value in model.state_dict().items())


def test_training_in_parts_is_training_at_once_and_ends(tokenizer: Any) -> None:
    whole, parts = make(tokenizer, 5), make(tokenizer, 5)
    torch.manual_seed(2)
    whole.advance(99, lambda _: None)
    torch.manual_seed(2)
    for steps in (2, 0, 2, 3, 4):
        parts.advance(steps, lambda _: None)
    assert whole.step == parts.step == 5
    for name, value in whole.unet.state_dict().items():
        assert torch.equal(value, parts.unet.state_dict()[name]), name


def test_it_tells_the_mean_loss_every_100_steps(tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make(tokenizer, 250)
    weight = next(run.unet.parameters())
    monkeypatch.setattr(run, "_loss", lambda: 0 * weight.sum() + run.step)
    monkeypatch.setattr(run.optimizer, "step", lambda: None)
    monkeypatch.setattr(run, "_state", lambda: iter(()))
    told: list[dict[str, float]] = []
    run.advance(250, told.append)
    assert [(each["step"], each["loss"]) for each in told] == [(100, 49.5), (200, 149.5)]


def test_the_real_models_fit_one_another(tokenizer: Any) -> None:
    unet, text = build_unet(), build_text_encoder(tokenizer)
    ids = torch.tensor(tokenizer(["a hat"], padding="max_length", max_length=LENGTH).input_ids)
    with torch.no_grad():
        read = text(input_ids=ids).last_hidden_state
        found = unet(torch.zeros(1, *SHAPE), torch.tensor([5]), read).sample
    assert read.shape == (1, LENGTH, WIDTH)
    assert found.shape == (1, *SHAPE)
