"""What may be wrong with any text, and how a finding is counted and told. Shared by the validation of every task.

Knows nothing of rows: a finding is places per split.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from tuner.errors import DataError, Problem

MIN_TRAIN_ROWS = 8
_HTML = re.compile(r"</?[a-zA-Z][^<>]{0,200}>|<!--|&(?:amp|lt|gt|quot|nbsp|#\d{1,6});")
# UTF-8 read as Windows-1252: an accented capital before a sign that never follows it in real words.
_MOJIBAKE = re.compile(r"[\xc2\xc3][\x80-\xbf]|\xe2\u20ac|\xef\xbb\xbf")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


def holds_html(text: str) -> bool:
    """Whether there are tags, comments or entities of HTML."""
    return bool(_HTML.search(text))


def holds_mojibake(text: str) -> bool:
    """Whether there are signs of a wrong encoding."""
    return "\ufffd" in text or bool(_MOJIBAKE.search(text))


def holds_control(text: str) -> bool:
    """Whether there are control characters other than tab and line ends."""
    return bool(_CONTROL.search(text))


class Verdict:
    """What the report of every validation can be asked."""

    problems: tuple[Problem, ...]

    @property
    def ok(self) -> bool:
        """Whether a study may start."""
        return not self.problems

    def raise_problems(self) -> None:
        """Raises DataError with every problem, if there is one."""
        if self.problems:
            raise DataError(self.problems)


def note_finding(
    finding: str,
    sentence: str,
    places: Mapping[str, Sequence[str]],
    counts: dict[str, dict[str, int]],
    warnings: list[str],
) -> None:
    """Put the number of places per split into `counts`, and a warning with the first three into `warnings` if there are
    any. `sentence` is what the rows do: "hold HTML tags"."""
    found = {split: len(there) for split, there in places.items() if there}
    counts[finding] = found
    if found:
        first = [place for there in places.values() for place in there][:3]
        parts = ", ".join(f"{count} of {split}" for split, count in found.items())
        total = sum(found.values())
        warnings.append(f"{total} row{'s' if total > 1 else ''} ({parts}) {sentence}: {', '.join(first)}.")
