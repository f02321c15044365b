"""BLEU-4 and ROUGE-1, -2 and -L of an answer against its reference, each 0 to 100, right for Chinese and English.

Both libraries split at spaces, where Chinese has none: they get words from `words.words`, in which each character is
one. BLEU is sacrebleu's sentence BLEU (exponential smoothing), averaged over rows, as is usual for answers; ROUGE is
the F-measure of rouge_score.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from tuner.tasks.shoe_qa.words import words

NAMES = ("predict_bleu-4", "predict_rouge-1", "predict_rouge-2", "predict_rouge-l")


def overlaps(answers: Sequence[str], references: Sequence[str]) -> list[dict[str, float]]:
    """The four measures of each answer, by their names in `NAMES`."""
    return [_overlap(answer, reference) for answer, reference in zip(answers, references, strict=True)]


def _overlap(answer: str, reference: str) -> dict[str, float]:
    if not words(answer) or not words(reference):
        return dict.fromkeys(NAMES, 0.0)
    from sacrebleu import sentence_bleu

    bleu = sentence_bleu(" ".join(words(answer)), [" ".join(words(reference))], tokenize="none").score
    found = _scorer().score(reference, answer)
    rouge = [100 * found[name].fmeasure for name in ("rouge1", "rouge2", "rougeL")]
    return dict(zip(NAMES, [bleu, *rouge], strict=True))


class _Words:
    """What rouge_score calls a tokenizer."""

    def tokenize(self, text: str) -> list[str]:
        return words(text)


@cache
def _scorer() -> Any:
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(["rouge1", "rouge2", "rougeL"], tokenizer=_Words())
