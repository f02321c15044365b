"""How alike two texts mean, from 0 to 1: by sentence embeddings in English, by their characters in Chinese.

English texts are compared by the cosine of MiniLM's sentence embeddings (the embedded encoder, which knows English
only), where it is installed; everything else by the cosine of n-grams of one to three characters, which for short
Chinese texts on one subject says much the same. What texts have in common that share only their subject is taken off:
0.45 of a cosine of embeddings, 0.05 of one of n-grams; what is left is stretched to 0 to 1.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import torch
import torch.nn.functional as F

from tuner.bases.describe import describe
from tuner.bases.load import load_classifier, load_tokenizer
from tuner.data.language import detect_language
from tuner.lora.encoder import RaggedEncoder
from tuner.lora.ragged import Ragged, in_chunks
from tuner.tasks.shoe_qa.words import words

ENCODER = "minilm"
SUBJECT, SUBJECT_IN_CHARACTERS = 0.45, 0.05  # cosines of texts that have only their subject in common
LONGEST = 256  # tokens MiniLM reads of a text
TOKENS = 8192  # of one forward


def by_characters(first: str, second: str) -> float:
    """Cosine of the counts of n-grams of one to three words of `words.words` (characters, in Chinese), 0 to 1."""
    a, b = _grams(first), _grams(second)
    shared = sum(count * b[gram] for gram, count in a.items())
    size = math.sqrt(sum(n * n for n in a.values()) * sum(n * n for n in b.values()))
    return shared / size if size else 0.0


def _beyond(cosine: float, usual: float) -> float:
    return min(max((cosine - usual) / (1 - usual), 0.0), 1.0)


def _grams(text: str) -> Counter[tuple[str, ...]]:
    said = words(text)
    return Counter(tuple(said[at : at + n]) for n in (1, 2, 3) for at in range(len(said) - n + 1))


class Semantics:
    """Compares texts. With `encoder`, MiniLM is loaded on `device` at the first English text. Raises BaseModelError
    then, if it is not installed."""

    def __init__(self, device: torch.device, dtype: torch.dtype, *, encoder: bool) -> None:
        self.device, self.dtype, self.encoder = device, dtype, encoder
        self._loaded: _Encoder | None = None
        self._known: dict[str, torch.Tensor] = {}

    def alike(self, answers: Sequence[str], references: Sequence[str]) -> list[float]:
        """0 to 1 for each pair; 0 for an empty answer. References are embedded once."""
        found = [
            _beyond(by_characters(answer, reference), SUBJECT_IN_CHARACTERS)
            for answer, reference in zip(answers, references, strict=True)
        ]
        english = [
            at
            for at, (answer, reference) in enumerate(zip(answers, references, strict=True))
            if self.encoder and answer.strip() and detect_language([reference]) == "en"
        ]
        if not english:
            return found
        if self._loaded is None:
            self._loaded = _Encoder(self.device, self.dtype)
        new = list(dict.fromkeys(references[at] for at in english if references[at] not in self._known))
        if new:
            self._known.update(zip(new, self._loaded.embed(new), strict=True))
        ours = self._loaded.embed([answers[at] for at in english])
        theirs = torch.stack([self._known[references[at]] for at in english])
        for at, cosine in zip(english, F.cosine_similarity(ours, theirs).tolist(), strict=True):
            found[at] = _beyond(cosine, SUBJECT)
        return found


class _Encoder:
    """MiniLM as a sentence encoder: the mean of its last hidden states."""

    def __init__(self, device: torch.device, dtype: torch.dtype) -> None:
        facts = describe(ENCODER)
        self.tokenizer = load_tokenizer(facts)
        self.device = device
        self.model = RaggedEncoder(load_classifier(facts, 2).requires_grad_(False).to(device=device, dtype=dtype))

    @torch.no_grad()
    def embed(self, texts: Sequence[str]) -> torch.Tensor:
        """(B, H), fp32."""
        rows: list[list[int]] = self.tokenizer(list(texts), truncation=True, max_length=LONGEST)["input_ids"]
        found = torch.empty(len(rows), self.model.width, device=self.device)
        for chunk in in_chunks({at: len(row) for at, row in enumerate(rows)}, TOKENS):
            ragged = Ragged([len(rows[at]) for at in chunk], self.device)
            ids = torch.tensor([token for at in chunk for token in rows[at]], device=self.device)
            found[chunk] = ragged.means(self.model.hidden(ids, ragged, first_only=False))
        return found
