"""Whether a Chinese text is written in Simplified or in Traditional characters.

The two old encodings tell: GB 2312 was made for Simplified text and Big5 for Traditional, and what only one of them has
belongs to its script. Knows no other language: Japanese writes characters of both.
"""

from __future__ import annotations

from functools import cache


def chinese_script(text: str) -> str | None:
    """ "simplified" or "traditional", whichever most of the characters are that one script alone has; None where there
    are none, or as many of each."""
    balance = sum(_side(character) for character in text if "\u4e00" <= character <= "\u9fff")
    if not balance:
        return None
    return "simplified" if balance > 0 else "traditional"


@cache
def _side(character: str) -> int:
    """1 for a character of Simplified text only, -1 for one of Traditional text only, 0 for the rest."""
    return _has("gb2312", character) - _has("big5", character)


def _has(encoding: str, character: str) -> bool:
    try:
        character.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True
