"""Says a look in English. Knows no drawing: every word is one of the look's or goes with it."""

from __future__ import annotations

from tuner.bases.garments.look import Look
from tuner.bases.garments.styles import STYLES

FORMS = 8
"""How many wordings there are; form 0 is the plainest."""

MANY = frozenset({"trousers", "shoes", "boots"})
"""Garments that are said in the plural."""

MOTIFS = {
    "plain": "in one plain colour",
    "striped": "with {accent} stripes",
    "dotted": "with {accent} dots",
    "checked": "with {accent} checks",
    "floral": "with {accent} flowers",
    "ribbed": "with narrow ribs",
    "quilted": "with a quilted diamond surface",
    "speckled": "with {accent} speckles",
    "gradient": "fading to {accent}",
    "plaid": "with {accent} plaid",
    "zigzag": "with {accent} zigzag lines",
}

PLACES = {
    "plain white": "on a plain white background",
    "cream": "on a cream background",
    "pale grey": "on a pale grey background",
    "dark studio": "in a dark studio",
    "pale blue": "on a pale blue background",
    "pale pink": "on a pale pink background",
    "wooden floor": "on a wooden floor",
    "brick wall": "in front of a brick wall",
    "soft gradient": "on a soft gradient background",
    "cream paper": "on cream paper",
    "light linen": "on light linen",
    "concrete wall": "in front of a concrete wall",
    "pink bokeh": "against a hazy pink background",
}


def a(words: str, many: bool = False) -> str:
    """The words with their article; without one where they are plural."""
    if many:
        return words
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def motif(look: Look) -> str:
    """What is on the cloth: "with white stripes"; for a style its own words."""
    if look.style is None:
        return MOTIFS[look.pattern].format(accent=look.accent)
    return f"with {STYLES[look.style].patterns[look.pattern]}"


def caption(look: Look, form: int = 0) -> str:
    """The look in one of `FORMS` wordings, at most 24 words, without a full stop. Raises `ValueError` for another form.

    Form 0 is "a <colour> <pattern> <garment>"; a styled look has its style for the pattern and says the colour after.
    """
    if not 0 <= form < FORMS:
        raise ValueError(f"form = {form}: must be 0 to {FORMS - 1}")
    many, garment = look.garment in MANY, look.garment
    place, on = PLACES[look.background], motif(look)
    pair = f"a pair of {garment}" if many else a(garment)
    if look.style is not None:
        seen = f"{look.style} {garment} in {look.colour}"
        return (
            f"{a(seen, many)} {on}",
            a(f"{look.style} {garment}", many),
            f"{a(seen, many)} {place}",
            f"a photo of {a(seen, many)} {on}, {place}",
            f"{pair} in {look.style} style, {look.colour}, {on}",
            f"{look.style} style: {a(f'{look.colour} {garment}', many)} {on}",
            f"{a(f'{look.colour} {garment}', many)} {on}, {look.style} style, {place}",
            f"{look.colour} {garment}, {look.style}",
        )[form]
    plain = look.pattern == "plain"
    named = f"plain {look.colour} {garment}" if plain else f"{look.colour} {look.pattern} {garment}"
    return (
        a(named, many),
        f"{a(named, many)} {place}",
        f"a photo of {a(garment, many)}, {f'plain {look.colour}' if plain else f'{look.colour} {on}'}, {place}",
        f"{pair} in {look.colour}, {look.pattern}, {place}",
        f"{a(f'{look.colour} {garment}', many)} {on}",
        f"a picture of {f'a pair of {named}' if many else a(named)}",
        f"{look.pattern} {look.colour} {garment} {place}",
        f"{a(f'{look.pattern} {garment}', many)} in {look.colour}" + ("" if plain else f", {on}"),
    )[form]
