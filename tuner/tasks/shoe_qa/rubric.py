"""The answer rubric: four marks of 0 to 10 by rules that a reader can check by hand, the same on every machine.

completeness   10 * the share of the reference's content that stands in the answer. Content of Chinese are its
               characters, of English the stems of its words, and numbers, function words left out: the mean of the
               shares of single ones and of pairs of neighbours, less what any two texts on one subject share, a tenth.
key_data       10 * the share of key facts that stand in the answer, halved for every number that contradicts: one with
               a unit that the reference has too, whose value lies in none of the reference's (nor stands in the
               question). Where a row names no key facts, the reference's numbers are; without those it is completeness.
semantic       10 * the mean of how much content the two texts share (the F-measure of that share both ways) and how
               alike they are (see `semantic`), from 0 to 1, halved for every number that contradicts.
readability    10, less up to 6 for stumbles (half of the runs of three words stumbling, see `fluency`, cost all 6), up
               to 8 for repetition (half of the runs being repeats cost all 8), 3 without a sign that ends a sentence,
               8 in another language than the reference.

An empty answer has 0 everywhere. `tests/tasks/shoe_qa/graded.jsonl` holds answers graded by hand, with which the rules
are compared. What the marks do not know: whether a fact that nobody listed is true, and what "not" turns round: an
answer in the reference's words that says the opposite is marked as if it agreed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from tuner.data.language import detect_script
from tuner.tasks.shoe_qa.fluency import RUN
from tuner.tasks.shoe_qa.words import is_chinese, normal, squeezed, words

MARKS = ("completeness", "key_data", "semantic", "readability")
MOST = 10.0
CHANCE = 0.1  # the share that two texts on one subject have in common whatever they say
_EMPTY = frozenset(
    "的了是在和也都就還要會可以請把被讓給與或及而但等很最著過到再先後這那有不能得地所因為如果"
) | frozenset(
    [
        "a",
        "an",
        "the",
        "is",
        "are",
        "was",
        "were",
        "be",
        "been",
        "being",
        "am",
        "do",
        "does",
        "did",
        "doing",
        "have",
        "has",
        "had",
        "of",
        "to",
        "in",
        "on",
        "at",
        "by",
        "for",
        "from",
        "with",
        "and",
        "or",
        "but",
        "if",
        "so",
        "than",
        "then",
        "that",
        "this",
        "these",
        "those",
        "it",
        "its",
        "they",
        "them",
        "their",
        "there",
        "here",
        "as",
        "not",
        "no",
        "can",
        "could",
        "will",
        "would",
        "should",
        "may",
        "might",
        "must",
        "you",
        "your",
        "we",
        "our",
        "i",
        "my",
        "he",
        "she",
        "his",
        "her",
        "what",
        "which",
        "when",
        "where",
        "why",
        "how",
        "about",
        "into",
        "out",
        "over",
        "up",
        "down",
        "only",
        "just",
        "also",
    ]
)
_ENDINGS = "。！？.!?…」』)）\"'"
_PLURAL = re.compile(r"(?<=[^\W\d_]{2}[^\Ws])s$")
_SUFFIX = re.compile(r"(?<=[^\W\d_]{2})(?:ing|edly|ed|ly|e)$")
_UNITS = {
    "%": ("%", "趴", "percent"),
    "°c": ("°c", "度"),
    "hour": ("小時", "hours", "hour", "hrs", "h"),
    "minute": ("分鐘", "minutes", "minute", "min"),
    "day": ("天", "日", "days", "day"),
    "week": ("週", "星期", "周", "weeks", "week"),
    "month": ("個月", "months", "month"),
    "year": ("年", "years", "year"),
    "mm": ("公釐", "毫米", "millimetres", "millimeters", "mm"),
    "km": ("公里", "kilometres", "kilometers", "km"),
    "cm": ("公分", "厘米", "centimetres", "centimeters", "cm"),
    "micrometre": ("微米", "micrometres", "micrometers", "micrometre", "µm", "μm"),
    "ml": ("毫升", "ml", "millilitres", "milliliters"),
    "gram": ("公克", "克", "grams", "gram", "g"),
    "nanogram": ("奈克", "nanograms", "ng"),
    "spoon": ("湯匙", "大匙", "tablespoons", "tablespoon"),
    "times": ("次", "times"),
}
_UNIT = {word: unit for unit, names in _UNITS.items() for word in names}
_NAMES = "|".join(re.escape(name) for name in sorted(_UNIT, key=len, reverse=True))
_QUANTITY = re.compile(rf"(\d+(?:\.\d+)?)(?:-(\d+(?:\.\d+)?))?[\s-]?({_NAMES})(?![a-z])")


@dataclass(frozen=True)
class Quantity:
    """A number, or a range of them, with its unit in one name: 70-90 %."""

    low: float
    high: float
    unit: str

    def holds(self, other: Quantity) -> bool:
        """Whether the other lies within this one."""
        return self.unit == other.unit and self.low <= other.low and other.high <= self.high


def quantities(text: str) -> list[Quantity]:
    """Every number with a known unit in a text, in order."""
    found = []
    for low, high, name in _QUANTITY.findall(normal(text)):
        first, last = float(low), float(high or low)
        found.append(Quantity(min(first, last), max(first, last), _UNIT[name]))
    return found


def content(text: str) -> tuple[set[str], set[tuple[str, str]]]:
    """What a text says, to be looked for in another: words without function words (Chinese characters, stems, numbers),
    and pairs of neighbours among them."""
    said = [word if is_chinese(word) else _stem(word) for word in words(text) if word not in _EMPTY]
    return set(said), set(pairwise(said))


def covered(answer: str, reference: str) -> float:
    """The share of the reference's content that stands in the answer, less chance, 0 to 1; where it has none, whether
    the two are the same."""
    wanted, pairs_wanted = content(reference)
    given, pairs_given = content(answer)
    if not wanted:  # yes or no, and nothing else
        return float(words(answer) == words(reference))
    shares = [len(wanted & given) / len(wanted)]
    if pairs_wanted:
        shares.append(len(pairs_wanted & pairs_given) / len(pairs_wanted))
    return max(0.0, sum(shares) / len(shares) - CHANCE) / (1 - CHANCE)


def contradictions(answer: str, reference: str, question: str = "") -> int:
    """How many numbers of the answer contradict the reference."""
    right = quantities(reference)
    known = [*right, *quantities(question)]
    units = {quantity.unit for quantity in right}
    said = {each for each in quantities(answer) if each.unit in units}
    return sum(not any(wanted.holds(each) for wanted in known) for each in said)


def completeness(answer: str, reference: str) -> float:
    """0 to 10."""
    return MOST * covered(answer, reference) if words(answer) else 0.0


def key_data(answer: str, reference: str, key_facts: Sequence[str], question: str = "") -> float:
    """0 to 10. A key fact may have alternatives, separated by |: one is enough."""
    said, right = quantities(answer), quantities(reference)
    if key_facts:
        present = [any(_stands(each, answer) for each in fact.split("|") if each.strip()) for fact in key_facts]
    elif right:
        present = [any(wanted.holds(each) for each in said) for wanted in right]
    else:
        return completeness(answer, reference)
    return MOST * sum(present) / len(present) * 0.5 ** contradictions(answer, reference, question)


def _stands(fact: str, answer: str) -> bool:
    """Whether a key fact stands in an answer: its numbers whole (2 mm is not in 12 mm), its words from their start."""
    wanted = squeezed(fact)
    if wanted[0].isascii() and wanted[0].isalpha():
        return bool(re.search(rf"(?<![a-z]){re.escape(normal(fact))}", normal(answer)))
    before = r"(?<!\d)(?<!\d[.,-])" if wanted[0].isdigit() else ""
    behind = r"(?!\d)(?![.,-]\d)" if wanted[-1].isdigit() else ""
    return bool(re.search(f"{before}{re.escape(wanted)}{behind}", squeezed(answer)))


def semantic(answer: str, reference: str, alike: float, question: str = "") -> float:
    """0 to 10, from how alike answer and reference are (0 to 1)."""
    recall, precision = covered(answer, reference), covered(reference, answer)
    shared = 2 * recall * precision / (recall + precision) if recall + precision else 0.0
    likeness = (alike + shared) / 2
    return MOST * likeness * 0.5 ** contradictions(answer, reference, question) if words(answer) else 0.0


def readability(answer: str, reference: str, stumbles: float) -> float:
    """0 to 10. `stumbles` is the share of the answer's runs of words that stumble."""
    said = words(answer)
    if not said:
        return 0.0
    lost = 6 * min(2 * stumbles, 1.0)
    lost += 8 * min(2 * repeated(said), 1.0)
    lost += 0.0 if answer.rstrip()[-1] in _ENDINGS else 3.0
    mine, wanted = detect_script([answer]), detect_script([reference])
    lost += 8.0 if "unknown" not in (mine, wanted) and mine != wanted else 0.0
    return max(0.0, MOST - lost)


def repeated(said: Sequence[str]) -> float:
    """The share of runs of three words that were there before."""
    runs = [tuple(said[start : start + RUN]) for start in range(len(said) - RUN + 1)]
    return 1 - len(set(runs)) / len(runs) if runs else 0.0


def _stem(word: str) -> str:
    """A word without its endings: enough to find "brushes" in "brush", "shoes" in "shoe" and "removing" in "remove"."""
    return _SUFFIX.sub("", _PLURAL.sub("", word))
