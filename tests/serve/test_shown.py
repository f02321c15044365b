"""Versions as lists show them."""

from __future__ import annotations

from serve.shown import Shown, shown
from tuner.registry import Adapter, AdapterName, Change, Entry, Target

ONE, TWO, THREE = "1" * 12, "2" * 12, "3" * 12
NAME = AdapterName("sentiment", "reviews")


def test_what_serves_what_is_refused_and_what_lies_there() -> None:
    versions = {each: Entry(NAME, each, each * 5, float(each[0]), "me") for each in (ONE, TWO, THREE)}
    bad = Target.of({THREE: 1})
    good = Target.of({ONE: 1}, TWO)
    adapter = Adapter(NAME, versions, {"champion": (Change(1, bad, 0.0, "me"),), "next": (Change(1, good, 0.0, "me"),)})
    served = {"reviews@champion": Target.of({ONE: 1}), "reviews@next": good, "other@champion": Target.of({THREE: 1})}
    refused = {"reviews@champion": (bad, "it is damaged")}
    assert shown([adapter], served, refused, {f"reviews@{ONE}"}) == [
        Shown("reviews", ONE, 1.0, ("champion", "next"), True),
        Shown("reviews", TWO, 2.0, ("next",), False),  # a shadow serves too
        Shown("reviews", THREE, 3.0, (), False, "it is damaged"),
    ]
    assert shown([], served, refused, set()) == []
