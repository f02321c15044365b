"""What may be said of the pictures of a folder and their captions: counted by rule, the first files named.

Knows the rules by name and what each means to a person; nothing of how a rule is found broken.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

SHOWN = 5
# The text encoders of CLIP cut at 77 tokens, two of which are marks; a word is one token or more.
MAX_WORDS = 75


@dataclass(frozen=True)
class Rule:
    """What the pictures under a rule are, as "pictures that ...", and what cures it. `bad` ones are not used, and a
    set may not have many; others are for information."""

    title: str
    cure: str = ""
    bad: bool = False


RULES: Mapping[str, Rule] = {
    "missing": Rule("captions whose picture is not there", "Add the picture or take the row out.", True),
    "outside": Rule("files outside the folder, by a link or a path with ..", "Copy them into the folder.", True),
    "no_file_name": Rule("rows that name no picture", "Fill in the file name or take the row out.", True),
    "unreadable": Rule("files that cannot be opened", "Check that they are files and may be read.", True),
    "foreign": Rule("pictures of a format that is not read", "Save them as png or jpg.", True),
    "not_a_picture": Rule("files that are no picture, whatever their name says", "Save them as png or jpg.", True),
    "too_many_bytes": Rule("pictures with too many bytes", "Save them smaller.", True),
    "too_many_pixels": Rule("pictures with too many pixels", "Save them smaller.", True),
    "animated": Rule("pictures of more than one frame", "Save one frame of each as png or jpg.", True),
    "damaged": Rule("pictures that are cut short or damaged", "Copy them again from where they came.", True),
    "too_deep": Rule("pictures of more than 16 bits a channel", "Save them with 8 or 16 bits a channel.", True),
    "too_small": Rule("pictures with too short a side", "Use larger versions of them.", True),
    "no_caption": Rule("pictures without a caption", "Write one for each.", True),
    "empty_caption": Rule("pictures with an empty caption", "Write one for each.", True),
    "caption_file": Rule("captions that cannot be read as text", "Save them as UTF-8 text.", True),
    "unlisted": Rule("pictures that the file of captions does not name, not used"),
    "orphans": Rule("text files beside no picture of their name, not used"),
    "twice": Rule("rows that name a picture again; the first row with a caption is used"),
    "linked_folders": Rule("folders that are links, not followed"),
    "elsewhere": Rule("pictures beside the folder train, not used"),
    "leaks": Rule("pictures that stand in validation or test as well, left out of the split before"),
    "duplicates": Rule("pictures with the pixels of an earlier one of their split"),
    "long_caption": Rule(f"captions of more than {MAX_WORDS} words, of which the text encoder reads the beginning"),
    "long": Rule("pictures over four times as long as wide, of which training sees the middle"),
    "deep": Rule("pictures of 16 bits a channel, scaled to 8"),
    "cmyk": Rule("CMYK pictures, converted to RGB without their colour profile"),
    "alpha": Rule("pictures with transparency, laid on white"),
    "gray": Rule("gray pictures, taken as RGB"),
    "turned": Rule("pictures turned upright by their EXIF orientation"),
}


@dataclass(frozen=True)
class Finding:
    """How many of each split are under one rule. `places` names the first `SHOWN`: file, or line of a file, and what
    is wrong with it where the rule alone does not say."""

    rule: str
    counts: Mapping[str, int]
    places: tuple[str, ...]

    @property
    def count(self) -> int:
        """In all splits together."""
        return sum(self.counts.values())

    @property
    def bad(self) -> bool:
        """Whether these are mistakes, left out."""
        return RULES[self.rule].bad

    def __str__(self) -> str:
        title = RULES[self.rule].title
        return f"{title}{', left out' if self.bad else ''}: {self.listed()}."

    def listed(self) -> str:
        """ "7 (5 of train, 2 of test): a.png, b.png and 5 more"."""
        parts = ", ".join(f"{count} of {split}" for split, count in self.counts.items())
        more = f" and {self.count - len(self.places)} more" if self.count > len(self.places) else ""
        return f"{self.count} ({parts}): {', '.join(self.places)}{more}"

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"rule": self.rule, "bad": self.bad, "counts": dict(self.counts), "places": list(self.places)}


@dataclass
class Tally:
    """Collects findings while a folder is read."""

    _counts: dict[str, Counter[str]] = field(default_factory=dict)
    _places: dict[str, list[str]] = field(default_factory=dict)

    def add(self, rule: str, split: str, place: str) -> None:
        """One more under a rule of `RULES`; `place` names it for a person."""
        self._counts.setdefault(rule, Counter())[split] += 1
        places = self._places.setdefault(rule, [])
        if len(places) < SHOWN:
            places.append(_printable(place))

    def findings(self) -> tuple[Finding, ...]:
        """All so far, in the order of `RULES`: mistakes first."""
        return tuple(
            Finding(rule, dict(self._counts[rule]), tuple(self._places[rule])) for rule in RULES if rule in self._counts
        )


def _printable(place: str) -> str:
    """A file's name may hold any character, and bytes that are none: neither may reach a terminal or a report."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in place)
