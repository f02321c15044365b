"""A saved question-answering adapter, answering: plain transformers and PEFT, one token after another."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from tuner.bases.adapted import SavedAdapter, not_an_adapter
from tuner.bases.chat import ChatFormat
from tuner.bases.load import load_causal


class QaPredictor:
    """Implements `Predictor` and `Streaming`, greedily, in fp32 on the CPU. Raises StoreError if the folder is not an
    adapter, BaseModelError for its base."""

    def __init__(self, adapter: Path) -> None:
        saved = SavedAdapter.open(adapter)
        try:
            self.max_length = int(saved.details["max_length"])
            self.new_tokens = int(saved.details["new_tokens"])
            self.system = str(saved.details.get("system", ""))
        except (LookupError, TypeError, ValueError) as error:
            raise not_an_adapter(adapter, error) from error
        self.chat = ChatFormat.open(saved.facts)
        self.model = saved.on(load_causal(saved.facts, torch.float32))

    def predict(self, inputs: Sequence[str]) -> list[dict[str, Any]]:
        """The answer to each question, and the seconds it took."""
        found: list[dict[str, Any]] = []
        for text in inputs:
            started = time.perf_counter()
            answer = "".join(self.stream(text))
            found.append({"answer": answer, "seconds": round(time.perf_counter() - started, 3)})
        return found

    def stream(self, text: str) -> Iterator[str]:
        """The answer in pieces, as it is written. A piece is held back while its last character is incomplete; one that
        never becomes complete is left out."""
        turns = [{"role": "system", "content": self.system}] if self.system else []
        prompt = self.chat.prompt([*turns, {"role": "user", "content": text}])
        # a question that leaves no room is read from its end, where what is asked usually stands
        ids = torch.tensor([prompt[-max(1, self.max_length - 1) :]])
        written: list[int] = []
        shown, cache = "", None
        for _ in range(self.new_tokens):
            with torch.no_grad():
                found = self.model(input_ids=ids, past_key_values=cache, use_cache=True)
            token = int(found.logits[0, -1].argmax())
            if token in self.chat.stop:
                break
            cache, ids = found.past_key_values, torch.tensor([[token]])
            written.append(token)
            said = self.chat.text(written)
            if said.startswith(shown) and not said.endswith("\ufffd") and len(said) > len(shown):
                yield said[len(shown) :]
                shown = said
        rest = self.chat.text(written).rstrip("\ufffd")  # half a character is left at most
        if rest.startswith(shown) and len(rest) > len(shown):
            yield rest[len(shown) :]
