"""Trains the embedded open_clip model on drawn garments: pictures and what is said of them, near each other.

The contrastive loss of CLIP (Radford et al. 2021, arXiv:2103.00020) with more than one right answer: the target of a
text is spread evenly over all pictures of the batch that it is true of, and the other way round.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from tuner.bases.garment_clip.sayings import SAYINGS, facts, fits, saying
from tuner.bases.garments.captions import FORMS
from tuner.bases.garments.look import Look
from tuner.bases.recipe import cosine, follow

BATCH, RATE = 128, 1.5e-3
SCALE = 20.0  # of the cosines at first; it is learnt


def configuration(vocabulary: int, length: int) -> dict[str, Any]:
    """`model_cfg` of open_clip_config.json."""
    return {
        "embed_dim": 96,
        "vision_cfg": {
            "image_size": 64,
            "layers": 3,
            "width": 96,
            "head_width": 24,
            "patch_size": 8,
            "pool_type": "avg",
        },
        "text_cfg": {
            "context_length": length,
            "vocab_size": vocabulary,
            "width": 96,
            "heads": 4,
            "layers": 2,
            "hf_tokenizer_name": "tokenizer",
        },
    }


def build(vocabulary: int, length: int) -> Any:
    """The model, untrained."""
    from open_clip import CLIP

    cfg = configuration(vocabulary, length)
    text = {name: value for name, value in cfg["text_cfg"].items() if name != "hf_tokenizer_name"}
    return CLIP(cfg["embed_dim"], cfg["vision_cfg"], text, init_logit_scale=math.log(SCALE))


def numbered(looks: Sequence[Look]) -> np.ndarray:
    """Facts of the looks as numbers (N, facts), equal where the facts are."""
    told = np.array([facts(look) for look in looks])
    return np.stack([np.unique(column, return_inverse=True)[1] for column in told.T], axis=1)


def as_input(pictures: np.ndarray, draw: np.random.Generator | None = None) -> torch.Tensor:
    """uint8 (B, H, W, 3) -> what the model reads (B, 3, H, W); with `draw`, blurred, noisy, brighter or darker here and
    there, as generated pictures are."""
    x = torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2).float() / 255
    if draw is not None:
        count = len(x)
        blurred = F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
        mixing = torch.from_numpy(np.where(draw.random(count) < 0.5, draw.random(count), 0)).float()
        x = torch.lerp(x, blurred, mixing.view(-1, 1, 1, 1))
        noise = torch.from_numpy(draw.random(count) * 0.08).float().view(-1, 1, 1, 1)
        x = x + noise * torch.from_numpy(draw.standard_normal(x.shape, dtype=np.float32))
        gain = torch.from_numpy(1 + 0.2 * (draw.random(count) - 0.5)).float().view(-1, 1, 1, 1)
        shift_x, shift_y = (int(value) for value in draw.integers(-3, 4, size=2))
        x = torch.roll(x * gain, (shift_x, shift_y), (2, 3)).clamp(0, 1)
    return x * 2 - 1


def train(
    model: Any,
    tokenizer: Any,
    pictures: np.ndarray,
    looks: Sequence[Look],
    steps: int,
    seed: int,
    tell: Callable[[dict[str, float]], None],
    length: int,
    *,
    rate: float = RATE,
    whole: float = 0.5,
) -> Any:
    """The model, trained and averaged, in fp32 on the CPU. A share of `whole` of the texts says all or most of a look,
    the others a fact or two. A model that was trained before goes on from where it is."""
    torch.manual_seed(seed)
    draw = np.random.default_rng(seed)
    numbers = numbered(looks)
    decayed = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.05}, {"params": others, "weight_decay": 0.0}], lr=rate, betas=(0.9, 0.98)
    )
    average = {name: value.detach().clone() for name, value in model.state_dict().items()}
    started, running = time.monotonic(), 0.0
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1.0, (step + 1) / 100) * cosine(step / steps, 0.01)
        rows = draw.integers(len(looks), size=BATCH)
        said = [saying(looks[row], int(form)) for row, form in zip(rows, _forms(draw, BATCH, whole), strict=True)]
        ids = tokenizer(
            [each.text for each in said], padding="max_length", max_length=length, truncation=True, return_tensors="pt"
        ).input_ids
        true = torch.from_numpy(fits(numbers[rows], [each.claims for each in said])).float()  # (texts, pictures)
        seen = F.normalize(model.encode_image(as_input(pictures[rows], draw)), dim=-1)
        read = F.normalize(model.encode_text(ids), dim=-1)
        logits = model.logit_scale.exp().clamp(max=100) * read @ seen.T  # (texts, pictures)
        loss = (spread(logits, true) + spread(logits.T, true.T)) / 2
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        follow(average, model.state_dict().items(), min(0.998, 1 - 10 / (step + 11)))
        running += loss.item()
        if step % 100 == 99 or step == steps - 1:
            tell({"step": step + 1, "loss": running / (step % 100 + 1), "scale": model.logit_scale.exp().item(),
                  "seconds": time.monotonic() - started})  # fmt: skip
            running = 0.0
    model.load_state_dict(average)
    return model.eval()


def spread(logits: torch.Tensor, true: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy of (B, B) against targets spread evenly over what is true in each row, less their entropy."""
    targets = true / true.sum(1, keepdim=True)
    return (torch.xlogy(targets, targets) - targets * logits.log_softmax(1)).sum(1).mean()


def _forms(draw: np.random.Generator, count: int, whole: float) -> np.ndarray:
    """Wordings of `count` sayings."""
    return np.where(draw.random(count) < whole, draw.integers(FORMS, size=count), draw.integers(FORMS, SAYINGS, count))
