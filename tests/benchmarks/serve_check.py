"""Whether answers are right: each held against what plain transformers and PEFT in fp32 answer for the same text with
the version that the answer names, that adapter alone on a base of its own, one text at a time."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from peft import PeftModel

from tests.benchmarks.serve_load import Answer
from tuner.bases.describe import describe
from tuner.bases.load import load_classifier, load_tokenizer, quiet

MAX_TOKENS = 128
TOLERANCE = 1e-5 + 5e-7
"""Of a probability; the second part is the rounding of an answer to six digits."""


@dataclass(frozen=True)
class Verdict:
    """How many answers were compared, how many of them were wrong, the largest difference of a probability, and the
    first wrong ones in words."""

    compared: int = 0
    wrong: int = 0
    largest: float = 0.0
    words: tuple[str, ...] = ()

    def __add__(self, other: Verdict) -> Verdict:
        return Verdict(
            self.compared + other.compared,
            self.wrong + other.wrong,
            max(self.largest, other.largest),
            (self.words + other.words)[:5],
        )


class References:
    """What the versions in `folders` (name -> an intact PEFT folder) answer to texts, computed once each."""

    def __init__(self, base: str, texts: Sequence[str]) -> None:
        facts = describe(base)
        self.folders: dict[str, Path] = {}
        self._model = load_classifier(facts, 2)
        tokenizer = load_tokenizer(facts)
        self._rows = tokenizer(list(texts), truncation=True, max_length=MAX_TOKENS)["input_ids"]
        self._known: dict[tuple[str, int], tuple[float, ...]] = {}

    def judge(self, answers: Iterable[Answer], names: Mapping[str, str]) -> Verdict:
        """Hold answers with status 200 against their references. `names` maps an adapter as answers name it to the
        folder's name, where the two differ; an answer that names a version without a folder is wrong."""
        given = [(json.loads(answer.body), answer.text) for answer in answers if answer.status == 200]
        named = [names.get(body["adapter"], body["adapter"]) for body, _ in given]
        self._compute({(name, text) for name, (_, text) in zip(named, given, strict=True)})
        verdict, largest, wrong, words = Verdict(), 0.0, 0, []
        for name, (body, text) in zip(named, given, strict=True):
            expected = self._known.get((name, text))
            if expected is None:
                difference, right = 1.0, False
            else:
                label, probability = body["label"], body["probability"]
                difference = abs(probability - expected[label])
                # of two classes within rounding of a half, either may be the label
                right = difference <= TOLERANCE and expected[label] >= 0.5 - TOLERANCE
            largest = max(largest, difference)
            if not right:
                wrong += 1
                words.append(f"text {text}: {json.dumps(body)}, and {expected} is right")
        return verdict + Verdict(len(given), wrong, largest, tuple(words[:5]))

    @torch.inference_mode()
    def _compute(self, wanted: set[tuple[str, int]]) -> None:
        todo: dict[str, list[int]] = {}
        for name, text in sorted(wanted - self._known.keys()):
            if name in self.folders:
                todo.setdefault(name, []).append(text)
        for name, texts in todo.items():
            with quiet():
                model = PeftModel.from_pretrained(copy.deepcopy(self._model), str(self.folders[name])).eval()
            for text in texts:
                row = model(input_ids=torch.tensor([self._rows[text]])).logits.softmax(-1)[0]
                self._known[name, text] = tuple(row.tolist())
