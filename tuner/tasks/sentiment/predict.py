"""A saved sentiment adapter, answering: plain transformers and PEFT, as anybody would load it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from tuner.bases.describe import describe
from tuner.bases.load import load_classifier, load_tokenizer, quiet
from tuner.errors import StoreError

BATCH = 32


class SentimentPredictor:
    """Implements `Predictor` in fp32 on the CPU. Raises StoreError if the folder is not an adapter, BaseModelError
    for its base."""

    def __init__(self, adapter: Path) -> None:
        from peft import PeftModel

        try:
            details = json.loads((adapter / "tuner.json").read_text(encoding="utf-8"))
            revision = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8")).get("revision")
            base_model, self.max_length = details["base_model"], details["max_length"]
            self.names = [str(name) for name in details["labels"]]
            with safe_open(adapter / "adapter_model.safetensors", framework="pt"):
                pass  # else PEFT, which misses the file, asks the hub for it
        except (OSError, ValueError, LookupError, TypeError, AttributeError, SafetensorError) as error:
            raise StoreError(f"{adapter} is not a saved adapter: {error}. Name a study's best folder.") from error
        facts = describe(base_model, revision)
        self.tokenizer = load_tokenizer(facts)
        base = load_classifier(facts, len(self.names))
        try:
            with quiet():
                self.model = PeftModel.from_pretrained(base, str(adapter)).eval()
        except (OSError, ValueError, RuntimeError, LookupError, TypeError) as error:
            reason = str(error).strip().split("\n")[0]
            raise StoreError(f"{adapter} does not fit its base {base_model}: {reason}") from error

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
