"""Texts as words, for measures that count them: a Chinese character is a word, so are a run of letters and a number.

Full-width signs, upper case and the many dashes for "to" are made alike first, so that a range in wide signs and one in
narrow ones are the same.
"""

from __future__ import annotations

import re
import unicodedata

_WORD = re.compile(r"\d+(?:[.,]\d+)*|[^\W\d_\u3400-\u9fff]+|[\u3400-\u9fff]")
# hyphens, dashes, the minus sign and the wave, which NFKC leaves apart
_DASHES = re.compile(r"(?<=[\d%c度])\s*(?:[-\u2010-\u2015\u2212~\u301c至到]|\bto\b)\s*(?=\d)")
_PERCENT = re.compile(r"\s*(?:per\s?cent|%)")
_DEGREE = re.compile(r"\s*(?:℃|°\s*c\b|degrees?\s+c(?:elsius)?\b|攝氏度)")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_CHINESE = re.compile(r"[\u3400-\u9fff]")


def normal(text: str) -> str:
    """The text in one form: NFKC, lower case, one sign each for percent, degrees and ranges, no commas in
    thousands, single spaces."""
    folded = " ".join(unicodedata.normalize("NFKC", text.replace("℃", "°C")).casefold().split())
    folded = _DEGREE.sub("°c", _PERCENT.sub("%", _THOUSANDS.sub("", folded)))
    return _DASHES.sub("-", folded).strip()


def words(text: str) -> list[str]:
    """The words of a text, without signs."""
    return _WORD.findall(normal(text))


def spans(text: str) -> list[tuple[str, int, int]]:
    """The words of a text as it stands, in lower case, with where each starts and ends."""
    return [(found.group().casefold(), found.start(), found.end()) for found in _WORD.finditer(text)]


def is_chinese(word: str) -> bool:
    """Whether a word is a Chinese character."""
    return bool(_CHINESE.match(word))


def squeezed(text: str) -> str:
    """The normal form without spaces, in which terms are looked for."""
    return normal(text).replace(" ", "")
