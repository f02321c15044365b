"""The registry's state as JSON and back, checked on the way in.

    {"format": 1, "generation": 3, "adapters": {"sentiment/reviews": {
        "versions": {"1a2b3c4d5e6f": {"digest": "1a2b...", "created": 1.7e9, "by": "cli:ada"}},
        "aliases": {"champion": [{"number": 1, "target": {"split": {"1a2b3c4d5e6f": 1.0}, ...}, "when": ...}]}}}}

The last change of an alias is what it points to; the others are its history.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from tuner.registry.names import AdapterName, is_alias, is_version
from tuner.registry.state import Adapter, Entry, RegistryState
from tuner.registry.target import Change, Limits, Share, Target

FORMAT = 1
_DIGEST = re.compile(r"[0-9a-f]{64}")


def state_to_json(state: RegistryState) -> dict[str, Any]:
    """Plain dicts and lists."""
    return {
        "format": FORMAT,
        "generation": state.generation,
        "adapters": {str(name): _adapter_to_json(adapter) for name, adapter in state.adapters.items()},
    }


def state_from_json(data: Any) -> RegistryState:
    """The inverse. Raises ValueError, LookupError, TypeError, AttributeError or ConfigError for anything else."""
    if data["format"] != FORMAT:
        raise ValueError(f"its format is {data['format']!r}, and this version reads {FORMAT}")
    adapters = [_adapter_from_json(AdapterName.parse(name), each) for name, each in data["adapters"].items()]
    return RegistryState(_count(data["generation"], 0), {adapter.name: adapter for adapter in adapters})


def _adapter_to_json(adapter: Adapter) -> dict[str, Any]:
    return {
        "versions": {
            version: {"digest": entry.digest, "created": entry.created, "by": entry.by}
            for version, entry in adapter.versions.items()
        },
        "aliases": {
            alias: [{**vars(change), "target": target_to_json(change.target)} for change in changes]
            for alias, changes in adapter.history.items()
        },
    }


def target_to_json(target: Target | None) -> dict[str, Any] | None:
    """What an alias points to, as a dict; None where it was removed."""
    if target is None:
        return None
    return {
        "split": {share.version: share.weight for share in target.split},
        "shadow": target.shadow,
        "limits": None if target.limits is None else asdict(target.limits),
    }


def _adapter_from_json(name: AdapterName, data: Mapping[str, Any]) -> Adapter:
    versions = {version: _entry(name, version, each) for version, each in data["versions"].items()}
    history = {alias: _history(alias, changes) for alias, changes in data["aliases"].items()}
    for alias, changes in history.items():
        target = changes[-1].target
        if target is not None and not target.versions <= versions.keys():
            raise ValueError(f"alias {alias} of {name} points to a version that is not listed")
    return Adapter(name, versions, history)


def _entry(name: AdapterName, version: str, data: Mapping[str, Any]) -> Entry:
    digest = _text(data["digest"])
    if not is_version(version) or not _DIGEST.fullmatch(digest) or not digest.startswith(version):
        raise ValueError(f"{name}@{version} is not the beginning of its digest")
    return Entry(name, version, digest, _number(data["created"]), _text(data["by"]))


def _history(alias: str, data: list[dict[str, Any]]) -> tuple[Change, ...]:
    changes = tuple(_change(each) for each in data)
    numbers = [change.number for change in changes]
    if not is_alias(alias) or not changes or numbers != list(range(numbers[0], numbers[0] + len(numbers))):
        raise ValueError(f"alias {alias!r} has no whole history")
    return changes


def _change(data: Mapping[str, Any]) -> Change:
    number, back_to = _count(data["number"], 1), data["back_to"]
    if back_to is not None and _count(back_to, 1) >= number:
        raise ValueError(f"change {number} goes back to a later one")
    target = None if data["target"] is None else _target(data["target"])
    return Change(number, target, _number(data["when"]), _text(data["by"]), _text(data["why"]), back_to)


def _target(data: Mapping[str, Any]) -> Target:
    split = tuple(Share(version, _number(weight)) for version, weight in data["split"].items())
    shadow = data["shadow"]
    limits = None if data["limits"] is None else Limits(**data["limits"])
    found = Target(split, shadow, limits)
    if not split or not all(map(is_version, found.versions)) or not all(0 < share.weight <= 1 for share in split):
        raise ValueError("a split is not one")
    if abs(math.fsum(share.weight for share in split) - 1) > 1e-6:
        raise ValueError("the shares of a split do not sum to 1")
    if limits is not None and (problem := next(limits.problems(), None)) is not None:
        raise ValueError(str(problem))
    return found


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{value!r} is no number")
    return value


def _count(value: Any, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{value!r} is no count")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is no text")
    return value
