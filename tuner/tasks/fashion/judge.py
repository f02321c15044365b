"""Compares drawn pictures with their references: by structure, by colour, and by what FashionCLIP makes of both."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tuner.bases.clip import ClipModel
from tuner.score_benchmark import TOTAL_LOSS, Benchmark, judge_item
from tuner.score_fashion import FASHION
from tuner.tasks.fashion.categories import CATEGORIES, LEVELS, PROMPTS
from tuner.tasks.fashion.similarity import PictureScores, category_probabilities, compare, means

_DETAILED = LEVELS[1]


class PictureJudge:
    """One FashionCLIP with the categories' texts. `form` says which of its similarities counts as fashion_clip,
    "category" or "embedding"; both are measured and told. `benchmark` weighs the total loss."""

    def __init__(self, clip: ClipModel, form: str, benchmark: Benchmark = FASHION) -> None:
        self.clip = clip
        self.form = form
        self.benchmark = benchmark
        self._texts = clip.texts(list(PROMPTS)).numpy()
        self._kept: dict[str, np.ndarray] = {}

    def compare(
        self, references: Sequence[np.ndarray], pictures: Sequence[np.ndarray], name: str
    ) -> list[PictureScores]:
        """Each picture with its reference. `name` is that of the references, the first of which are always the same:
        their embeddings are kept."""
        if len(self._kept.get(name, ())) < len(references):
            self._kept[name] = self.clip.images(references).numpy()
        wanted = self._kept[name][: len(references)]
        found = self.clip.images(pictures).numpy()
        return compare(references, pictures, wanted, found, self._texts, self.clip.scale)

    def metrics(self, scores: PictureScores) -> dict[str, float]:
        """By the names that benchmarks and bands know, with the total loss."""
        chosen = scores.clip_category if self.form == "category" else scores.clip_embedding
        found = {
            "ssim": scores.ssim,
            "fashion_clip": chosen,
            "fashion_clip_category": scores.clip_category,
            "fashion_clip_embedding": scores.clip_embedding,
            "colour": scores.colour,
        }
        return {**found, TOTAL_LOSS: judge_item("", found, self.benchmark).total_loss}

    def means(self, scores: Sequence[PictureScores]) -> dict[str, float]:
        """The means of those metrics."""
        return self.metrics(means(scores))

    def names(self, pictures: Sequence[np.ndarray]) -> list[str]:
        """The garment that is seen in each picture."""
        found = category_probabilities(self.clip.images(pictures).numpy(), self._texts, self.clip.scale)
        return [CATEGORIES[_DETAILED.start + int(each[_DETAILED].argmax())] for each in found]
