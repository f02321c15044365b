"""The state as JSON: what is written reads back, and nothing else is taken for it."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.registry.toys import NAME
from tuner.errors import ConfigError
from tuner.registry import Entry, Limits, RegistryState, Target
from tuner.registry.changes import with_alias, with_rollback, with_version
from tuner.registry.state_json import state_from_json, state_to_json

A, B, C = ("a" * 12, "b" * 12, "c" * 12)


def state() -> RegistryState:
    made = RegistryState(7)
    for version in (A, B, C):
        made = with_version(made, Entry(NAME, version, version + "0" * 52, 1.5, "cli:ada"))
    for target in (Target.of({A: 1}), Target.of({A: 1, B: 2}, C, Limits(0.1, 20.0, 2.5, 50))):
        made = with_alias(made, NAME, "champion", target, 2.5, "cli:ada", "鞋")
    return with_rollback(made, NAME, "champion", 3.5, "admin", "")


def test_it_reads_back() -> None:
    made = state()
    assert state_from_json(json.loads(json.dumps(state_to_json(made)))) == made
    assert state_from_json(state_to_json(RegistryState())) == RegistryState()


def put(*path: Any) -> Callable[[Any], None]:
    """A change of one value, the last word of the path."""

    def change(data: Any) -> None:
        *way, key, value = path
        for each in way:
            data = data[each]
        data[key] = value

    return change


REVIEWS = ("adapters", "sentiment/reviews")
SECOND = (*REVIEWS, "aliases", "champion", 1)
DAMAGE = {
    "format": put("format", 2),
    "generation": put("generation", -1),
    "no adapters": put("adapters", []),
    "name": put("adapters", "../x", {"versions": {}, "aliases": {}}),
    "digest": put(*REVIEWS, "versions", A, "digest", "b" * 64),
    "version": put(*REVIEWS, "versions", "..", {"digest": "b" * 64, "created": 1, "by": "x"}),
    "time": put(*REVIEWS, "versions", A, "created", float("nan")),
    "by": put(*REVIEWS, "versions", A, "by", None),
    "alias": put(
        *REVIEWS, "aliases", A, [{"number": 1, "target": None, "when": 1, "by": "", "why": "", "back_to": None}]
    ),
    "empty history": put(*REVIEWS, "aliases", "canary", []),
    "gap": put(*SECOND, "number", 5),
    "back to later": put(*REVIEWS, "aliases", "champion", 2, "back_to", 3),
    "unlisted version": put(*REVIEWS, "aliases", "champion", 2, "target", "split", {"d" * 12: 1.0}),
    "path in a split": put(*SECOND, "target", "split", {"../../x": 1.0}),
    "shares": put(*SECOND, "target", "split", {A: 0.5, B: 0.4}),
    "empty split": put(*SECOND, "target", "split", {}),
    "share as text": put(*SECOND, "target", "split", {A: "1"}),
    "shadow": put(*SECOND, "target", "shadow", "../x"),
    "limits": put(*SECOND, "target", "limits", {"max_errors": 2.0}),
    "unknown limit": put(*SECOND, "target", "limits", {"most": 2.0}),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_what_is_refused(damage: str) -> None:
    data = copy.deepcopy(state_to_json(state()))
    DAMAGE[damage](data)
    with pytest.raises((ValueError, LookupError, TypeError, AttributeError, ConfigError)):
        state_from_json(data)
