"""A saved sentiment adapter, answering: plain transformers and PEFT, as anybody would load it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from tuner.bases.adapted import SavedAdapter, not_an_adapter
from tuner.bases.load import load_classifier, load_tokenizer

BATCH = 32


class SentimentPredictor:
    """Implements `Predictor` in fp32 on the CPU. Raises StoreError if the folder is not an adapter, BaseModelError
    for its base."""

    def __init__(self, adapter: Path) -> None:
        saved = SavedAdapter.open(adapter)
        try:
            self.max_length = saved.details["max_length"]
            self.names = [str(name) for name in saved.details["labels"]]
        except (LookupError, TypeError) as error:
            raise not_an_adapter(adapter, error) from error
        self.tokenizer = load_tokenizer(saved.facts)
        self.model = saved.on(load_classifier(saved.facts, len(self.names)))

    @torch.no_grad()
    def predict(self, inputs: Sequence[str]) -> list[dict[str, Any]]:
        """label (from 0), the name that the training data gave it, and its probability, of each input."""
        answers: list[dict[str, Any]] = []
        for start in range(0, len(inputs), BATCH):
            texts = list(inputs[start : start + BATCH])
            batch = self.tokenizer(
                texts, truncation=True, max_length=self.max_length, padding=True, return_tensors="pt"
            )
            probabilities = self.model(**batch).logits.softmax(-1)
            for row in probabilities.tolist():
                label = max(range(len(row)), key=row.__getitem__)
                answers.append({"label": label, "name": self.names[label], "probability": row[label]})
        return answers
