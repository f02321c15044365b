"""What features say of a garment, as English: the words of each group, and the phrases and sentences made of them.

No word is said twice: a feature of which a word was said before is left out, as is a second style, pattern or
background, of which a picture has one. Knows no strategy: which features are said, and in which order, is for
`prompts` to choose.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from tuner.bases.garments.captions import MANY, a
from tuner.tasks.fashion.categories import CATEGORIES
from tuner.tasks.fashion.features import GROUPS, MOTIFS, SURROUNDINGS, Feature

LONGEST = 75
"""How many words a prompt has at most. CLIP's text encoder reads 75 tokens between its two marks, and a word is one
token or more; the embedded base reads 30. What a base has no room for, the end of a prompt, it does not read."""

GLUE = frozenset(["a", "an", "and", "against", "at", "by", "front", "from", "in", "of", "on", "the", "to", "with"])
"""Words that may come again: they say nothing of a picture."""

_UNCOUNTED = MANY | {"bottoms", "footwear"}
_SPOKEN: Mapping[str, str] = {"outerwear": "piece of outerwear", "": "piece of clothing"}
_MEANS: Mapping[str, str] = {
    **dict.fromkeys(("stripe", "stripes"), "striped"),
    **dict.fromkeys(("dot", "dots"), "dotted"),
    **dict.fromkeys(("check", "checks", "checkered"), "checked"),
    **dict.fromkeys(("flower", "flowers", "flowery"), "floral"),
    **dict.fromkeys(("blouse", "sweater", "tee"), "top"),
    **dict.fromkeys(("jeans", "pants", "shorts"), "trousers"),
    **dict.fromkeys(("heels", "sandals", "sneakers"), "shoes"),
    **dict.fromkeys(("backpack", "handbag", "purse"), "bag"),
    **dict.fromkeys(("beanie", "cap"), "hat"),
    "gray": "grey",
    "gown": "dress",
    "jacket": "coat",
}
"""What captions call things, and the word of the vocabulary that this is."""


@dataclass(frozen=True)
class Words:
    """What is said of each group, "" for nothing."""

    category: str
    style: str
    colour: str
    pattern: str
    background: str

    def garment(self, *before: str) -> str:
        """The garment with its article, and the words that stand before it."""
        thing = _SPOKEN.get(self.category, self.category)
        return a(" ".join([*filter(None, before), thing]), self.category in _UNCOUNTED)

    def details(self) -> list[str]:
        """All but the category, for after a comma."""
        coloured = self.colour and f"in {self.colour}"
        return [each for each in (self.style, coloured, self.pattern, self.background) if each]

    def told(self) -> str:
        """All in one phrase: "a red striped dress, on a wooden floor", "a formal dress in red with lace"."""
        adjective, motif = ("", f" {self.pattern}") if self.pattern.startswith("with ") else (self.pattern, "")
        if self.style:
            before, coloured, loose = [self.style], self.colour, adjective
        elif " and " in self.colour:
            before, coloured, loose = [adjective], self.colour, ""
        else:
            pair = [self.colour, adjective]
            before, coloured, loose = pair[::-1] if adjective == "plain" else pair, "", ""
        head = self.garment(*before) + (f" in {coloured}" if coloured else "") + motif
        return ", ".join(filter(None, (head, loose, self.background)))


def worded(features: Iterable[Feature], before: str = "") -> Words:
    """What the features say that the text `before` does not: the surest word of a group, and of colours the two
    surest. A garment that `before` names stays the one it is."""
    said = _said(before)
    found: dict[str, list[str]] = {group: [] for group in GROUPS}
    listed = list(features)
    for group, phrases in found.items():
        words = [each.word for each in listed if each.group == group][: 2 if group == "colour" else 1]
        for word in words if group != "category" or said.isdisjoint(CATEGORIES) else ():
            phrase = _place(word, said) if group == "background" else f"with {word}" if word in MOTIFS else word
            if said.isdisjoint(content(phrase)):
                phrases += [phrase]
                said |= _said(phrase)
    return Words(**{group: " and ".join(phrases) for group, phrases in found.items()})


def _place(word: str, said: Collection[str]) -> str:
    """How a background is said: without what was said of something else before; "" if that leaves nothing to say."""
    lead, article, rest = re.findall(r"(.*\b(?:on|in|of|against)) (an? )?(.*)", SURROUNDINGS[word])[0]
    left = [each for each in rest.split() if each not in said]
    if left[-1:] != rest.split()[-1:] or left == ["background"]:
        return ""
    return f"{lead} {a(' '.join(left)) if article else ' '.join(left)}"


def content(text: str) -> list[str]:
    """The words of a text that say something."""
    return [word for word in re.findall(r"[\w-]+", text.lower()) if word not in GLUE]


def _said(text: str) -> set[str]:
    """The words of a text, in the singular and the plural, and what they mean."""
    forms = {
        form for word in content(text) for form in (word, f"{word}s", word.removesuffix("s"), word.removesuffix("es"))
    }
    return forms | {_MEANS[form] for form in forms if form in _MEANS}


def joined(text: str, parts: Iterable[str]) -> str:
    """The text with those parts, after commas, for which there is room and of which it says no word."""
    for part in parts:
        longer = f"{text}, {part}"
        if len(longer.split()) <= LONGEST and _said(text).isdisjoint(content(part)):
            text = longer
    return text
