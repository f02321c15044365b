"""Prompts for rows with a reference picture: what FashionCLIP sees in the reference, put into words by a plan.

The other way to a style: no weight is trained, the words are. A prompt for which there is no reference, as when
somebody asks for a picture, takes what the training pictures have in common.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from tuner.bases.clip import CHUNK, ClipModel
from tuner.tasks.fashion.features import PROMPTS, Feature, find_features
from tuner.tasks.fashion.prompts import HIGH_CONFIDENCE, PromptPlan, optimised_prompt
from tuner.tasks.fashion.rows import PictureRow

_OF_THE_GARMENT = "category"  # a feature that a style does not have


class Prompting:
    """One FashionCLIP with the vocabulary's texts. Embeddings of pictures are kept."""

    def __init__(self, clip: ClipModel) -> None:
        self.clip = clip
        self._texts = clip.texts(list(PROMPTS)).numpy()
        self._kept: dict[bytes, np.ndarray] = {}

    def features(self, plan: PromptPlan, rows: Sequence[PictureRow]) -> list[tuple[Feature, ...]]:
        """What each row's picture shows, as sure as the plan asks."""
        seen = np.stack([self._embedding(row) for row in self._embedded(rows)])
        return find_features(seen, self._texts, self.clip.scale, threshold=plan.threshold, most=plan.most)

    def prompts(self, plan: PromptPlan, rows: Sequence[PictureRow]) -> list[str]:
        """The prompt of each row."""
        found = self.features(plan, rows)
        return [optimised_prompt(plan, seen, row.caption) for seen, row in zip(found, rows, strict=True)]

    def common(self, plan: PromptPlan, rows: Sequence[PictureRow]) -> tuple[Feature, ...]:
        """What the rows' pictures have in common, without the garment: the features of their mean embedding."""
        mean = np.stack([self._embedding(row) for row in self._embedded(rows)]).mean(0, keepdims=True)
        found = find_features(mean, self._texts, self.clip.scale, threshold=plan.threshold, most=plan.most)[0]
        return tuple(feature for feature in found if feature.group != _OF_THE_GARMENT)

    @staticmethod
    def asked(plan: PromptPlan, caption: str, common: Sequence[Feature]) -> str:
        """A prompt that somebody typed, with what the training pictures have in common, the surest first: as much of it
        as the plan's strategy takes. The typed words stand first whatever the strategy, since they are what is asked
        for."""
        taken = list(common)
        if plan.strategy == "high_confidence_only":
            taken = [feature for feature in common if feature.confidence >= HIGH_CONFIDENCE]
        elif plan.strategy == "minimal":
            taken = taken[:1]
        words = optimised_prompt(replace(plan, strategy="caption_plus", quality_words=False), taken, caption)
        return optimised_prompt(plan, (), words)

    def _embedded(self, rows: Sequence[PictureRow]) -> Sequence[PictureRow]:
        new = list({row.png: row for row in rows if row.png not in self._kept}.values())
        for start in range(0, len(new), CHUNK):  # as many pictures as are embedded at once are decoded at once
            part = new[start : start + CHUNK]
            found = self.clip.images([row.pixels() for row in part]).numpy()
            self._kept.update(zip((row.png for row in part), found, strict=True))
        return rows

    def _embedding(self, row: PictureRow) -> np.ndarray:
        return self._kept[row.png]
