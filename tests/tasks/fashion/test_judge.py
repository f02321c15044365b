"""The judge of pictures: the similarities of `similarity`, by the names that benchmarks know."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.tasks.fashion.fake_clip import FakeClip, picture
from tuner.bases.clip import ClipModel
from tuner.tasks.fashion import similarity
from tuner.tasks.fashion.categories import PROMPTS
from tuner.tasks.fashion.judge import PictureJudge

SEEN = [
    {("basic category", "dress"): 1.0, ("category", "dress"): 1.0},
    {("basic category", "top"): 1.0, ("category", "shirt"): 0.6, ("category", "coat"): 0.5},
    {("basic category", "top"): 0.9, ("category", "t-shirt"): 1.0},
]


def judge(form: str = "category") -> tuple[PictureJudge, FakeClip]:
    clip: Any = FakeClip(SEEN)
    return PictureJudge(clip, form), clip


def pictures(*numbers: int) -> list[np.ndarray]:
    return [picture(number) for number in numbers]


def test_a_picture_is_all_that_itself_is() -> None:
    made, _ = judge()
    found = made.metrics(made.compare(pictures(0), pictures(0), "x")[0])
    names = {"ssim", "fashion_clip", "fashion_clip_category", "fashion_clip_embedding", "colour"}
    assert found.keys() == {*names, "total_loss"}
    assert [found[name] for name in sorted(names)] == pytest.approx([1.0] * 5)
    assert found["total_loss"] == pytest.approx(0, abs=1e-9)


def test_similarities_are_those_of_a_real_model(clip: Path) -> None:
    model = ClipModel.open(str(clip), torch.device("cpu"))
    made, (ours, theirs) = PictureJudge(model, "category"), (pictures(0, 1), pictures(2, 1))
    texts, wanted, seen = (part.numpy() for part in (model.texts(PROMPTS), model.images(ours), model.images(theirs)))
    assert made.compare(ours, theirs, "x") == similarity.compare(ours, theirs, wanted, seen, texts, model.scale)


@pytest.mark.parametrize("form", ["category", "embedding"])
def test_the_form_says_which_similarity_counts(form: str) -> None:
    made, _ = judge(form)
    scores = made.compare(pictures(1), pictures(2), "x")[0]
    found = made.metrics(scores)
    assert found["fashion_clip_category"] == scores.clip_category
    assert found["fashion_clip_embedding"] == scores.clip_embedding
    assert abs(scores.clip_category - scores.clip_embedding) > 0.01
    assert found["fashion_clip"] == found[f"fashion_clip_{form}"]
    loss = 0.2 * (1 - scores.ssim) + 0.6 * (1 - found["fashion_clip"]) + 0.2 * (1 - scores.colour)
    assert found["total_loss"] == pytest.approx(loss)


def test_means_are_those_of_the_scores() -> None:
    made, _ = judge()
    scores = made.compare(pictures(0, 1, 2), pictures(0, 2, 0), "x")
    each = [made.metrics(score) for score in scores]
    found = made.means(scores)
    for name, value in found.items():
        assert value == pytest.approx(np.mean([metrics[name] for metrics in each])), name


def test_references_are_embedded_once() -> None:
    made, clip = judge()
    made.compare(pictures(0), pictures(1), "test")
    made.compare(pictures(0, 1, 2), pictures(1, 1, 1), "test")
    assert clip.asked == [1, 1, 3, 3], "more of them than before"
    made.compare(pictures(0, 1), pictures(1, 1), "test")
    made.compare(pictures(0, 1, 2), pictures(2, 1, 0), "test")
    assert clip.asked[4:] == [2, 3]
    before = made.compare(pictures(2), pictures(2), "validation")[0]
    assert clip.asked[6:] == [1, 1], "another split has references of its own"
    assert before.clip_embedding == pytest.approx(1)


def test_the_garment_that_is_seen_is_a_detailed_one() -> None:
    assert judge()[0].names(pictures(0, 1, 2)) == ["dress", "shirt", "t-shirt"]
