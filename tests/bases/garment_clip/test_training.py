"""Training of pictures and texts: its loss against a plain one, and that it learns."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tasks.fashion.toy import make_tokenizer
from tuner.bases.garment_clip import training
from tuner.bases.garment_clip.sayings import SAYINGS, saying
from tuner.bases.garment_clip.training import as_input, build, numbered, spread
from tuner.bases.garments.captions import FORMS, caption
from tuner.bases.garments.pictures import drawn, mixed

LENGTH = 48
LOOKS = mixed(4, 60, 0.2)


@given(st.integers(1, 8), st.integers(1, 8), st.integers(0, 999))
@settings(deadline=None, derandomize=True, max_examples=40)
def test_the_loss_is_cross_entropy_against_spread_targets(rows: int, columns: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    logits = torch.from_numpy(rng.normal(size=(rows, columns)) * 5)
    true = torch.from_numpy(rng.random((rows, columns)) < 0.4).double()
    true[:, 0] = 1
    targets = true / true.sum(1, keepdim=True)
    entropy = -sum(float(t) * np.log(float(t)) for t in targets.flatten() if t) / rows
    wanted = F.cross_entropy(logits, targets).item() - entropy
    assert spread(logits, true).item() == pytest.approx(wanted, abs=1e-9)


def test_one_right_answer_each_is_plain_cross_entropy() -> None:
    logits = torch.randn(6, 6, generator=torch.Generator().manual_seed(1))
    wanted = F.cross_entropy(logits, torch.arange(6))
    torch.testing.assert_close(spread(logits, torch.eye(6)), wanted)
    assert spread(torch.where(torch.ones(6, 6).tril() > 0, 0.0, -99.0), torch.ones(6, 6).tril()).item() < 1e-6


def test_pictures_as_input_are_those_that_are_looked_at() -> None:
    pictures = drawn(LOOKS[:6])
    x = as_input(pictures)
    assert (x.shape, x.dtype) == ((6, 3, 64, 64), torch.float32)
    np.testing.assert_allclose((x.permute(0, 2, 3, 1).numpy() + 1) * 127.5, pictures, atol=1e-3)
    changed = as_input(pictures, np.random.default_rng(1))
    assert changed.shape == x.shape
    assert changed.min() >= -1
    assert changed.max() <= 1
    assert 0.01 < (changed - x).abs().mean() < 0.5
    assert torch.equal(changed, as_input(pictures, np.random.default_rng(1)))


def measure(model: Any, tokenizer: Any, pictures: np.ndarray) -> float:
    """How well all pictures and their fullest captions find one another."""
    said = [caption(look, 2) for look in LOOKS]
    ids = tokenizer(said, padding="max_length", max_length=LENGTH, truncation=True, return_tensors="pt").input_ids
    facts = numbered(LOOKS)
    true = torch.from_numpy((facts[:, None] == facts[None]).all(-1)).float()
    with torch.no_grad():
        read = F.normalize(model.encode_text(ids), dim=-1)
        seen = F.normalize(model.encode_image(as_input(pictures)), dim=-1)
    return spread(20 * read @ seen.T, true).item()


def test_a_few_steps_bring_pictures_and_captions_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "BATCH", 24)
    monkeypatch.setattr(training, "configuration", small)
    tokenizer, pictures = make_tokenizer(LENGTH), drawn(LOOKS)
    torch.manual_seed(0)
    model = build(len(tokenizer), LENGTH)
    before = measure(model, tokenizer, pictures)
    told: list[dict[str, float]] = []
    found = training.train(model, tokenizer, pictures, LOOKS, 30, 1, told.append, LENGTH, rate=1e-2)
    assert not found.training
    assert measure(found, tokenizer, pictures) < before - 0.1
    assert [each["step"] for each in told] == [30]
    assert 1.5 < told[0]["loss"] < 3.5, "the mean over the steps since it last told, beginning near log 24"


@pytest.mark.parametrize(("whole", "share"), [(0.0, 0.0), (0.25, 0.25), (1.0, 1.0)])
def test_a_share_of_the_texts_says_all_of_a_look(monkeypatch: pytest.MonkeyPatch, whole: float, share: float) -> None:
    monkeypatch.setattr(training, "BATCH", 160)
    monkeypatch.setattr(training, "configuration", small)
    forms: list[int] = []
    monkeypatch.setattr(training, "saying", lambda look, form: forms.append(form) or saying(look, form))
    tokenizer = make_tokenizer(LENGTH)
    torch.manual_seed(0)
    model = build(len(tokenizer), LENGTH)
    training.train(model, tokenizer, drawn(LOOKS), LOOKS, 1, 1, lambda _: None, LENGTH, whole=whole)
    assert np.mean([form < FORMS for form in forms]) == pytest.approx(share, abs=0.12)
    assert set(forms) == set(range(0 if whole else FORMS, FORMS if whole == 1 else SAYINGS))


def test_a_seed_gives_the_same_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "BATCH", 8)
    monkeypatch.setattr(training, "configuration", small)
    tokenizer, pictures = make_tokenizer(LENGTH), drawn(LOOKS)

    def trained(seed: int) -> torch.Tensor:
        torch.manual_seed(0)
        model = build(len(tokenizer), LENGTH)
        found = training.train(model, tokenizer, pictures, LOOKS, 3, seed, lambda _: None, LENGTH)
        return torch.cat([value.flatten() for value in found.state_dict().values() if value.is_floating_point()])

    assert torch.equal(trained(1), trained(1))
    assert not torch.equal(trained(1), trained(2))


def test_the_real_model_is_what_open_clip_opens() -> None:
    model = build(900, 32)
    assert model.encode_image(torch.zeros(2, 3, 64, 64)).shape == (2, 96)
    assert model.encode_text(torch.zeros(2, 32, dtype=torch.long)).shape == (2, 96)


def small(vocabulary: int, length: int) -> dict[str, Any]:
    """A configuration of a few thousand parameters."""
    text = {"context_length": length, "vocab_size": vocabulary, "width": 32, "heads": 2, "layers": 1}
    vision = {"image_size": 64, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16, "pool_type": "avg"}
    return {"embed_dim": 32, "vision_cfg": vision, "text_cfg": {**text, "hf_tokenizer_name": "tokenizer"}}
