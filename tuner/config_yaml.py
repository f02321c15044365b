"""YAML as configs use it: plain data only, each key once, numbers as people write them.

No tags (they make objects), no anchors (they make bombs), no second document. Words are read by YAML 1.2's rules: 1e-4
is a number, `no` is text, 1:30 is text. Keys are text. Knows nothing of what a config means.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import yaml

from tuner.errors import ConfigError, Problem

MOST_BYTES = 1_000_000
_MOST_DEPTH = 20

_NULL = re.compile(r"~|null|Null|NULL|")
_BOOL = re.compile(r"true|True|TRUE|false|False|FALSE")
_INT = re.compile(r"[-+]?[0-9]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_SPECIAL = re.compile(r"([-+]?)\.(inf|Inf|INF)|\.(nan|NaN|NAN)")


def parse_yaml(text: str, where: str) -> dict[str, Any]:
    """The mapping that a YAML text holds. `where` names the text in messages. Raises ConfigError with every mistake."""
    data, problems = read_yaml(text, where)
    if problems:
        raise ConfigError(problems)
    return data


def read_yaml(text: str, where: str) -> tuple[dict[str, Any], list[Problem]]:
    """Like `parse_yaml`, but returns what could be read together with what is wrong."""
    if len(text) > MOST_BYTES:
        problem = Problem(where, f"{len(text)} characters", "is too large for a config", f"Keep it below {MOST_BYTES}.")
        return {}, [problem]
    reader = _Reader(where)
    try:
        events = yaml.parse(text, Loader=yaml.SafeLoader)
        data = reader.read(events)
    except yaml.YAMLError as error:
        return {}, [*reader.problems, _not_yaml(error, where)]
    except _TooDeepError:
        return {}, [*reader.problems, Problem(where, "...", f"nests deeper than {_MOST_DEPTH} levels", "Flatten it.")]
    if data is None:
        reader.problems.append(Problem(where, None, "is empty", "Start from one of the files in search_spaces."))
    elif not isinstance(data, dict):
        reader.problems.append(Problem(where, data, "must hold keys with values", "Write 'task: sentiment' and so on."))
    return data if isinstance(data, dict) else {}, reader.problems


def scalar(text: str) -> Any:
    """A bare word as YAML 1.2 reads it: null, true, a whole number, a number or text."""
    if _NULL.fullmatch(text):
        return None
    if _BOOL.fullmatch(text):
        return text.lower() == "true"
    if _INT.fullmatch(text):
        return int(text) if len(text) < 1000 else text  # Python refuses to read longer ones
    if _FLOAT.fullmatch(text):
        return float(text)
    if special := _SPECIAL.fullmatch(text):
        return float(f"{special[1] or ''}inf") if special[2] else float("nan")
    return text


def to_yaml(data: Any) -> str:
    """YAML that `parse_yaml` reads as the same data, keys in their order."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


class _TooDeepError(Exception):
    """Nested too deep to be a config; reading on could exhaust the stack."""


class _Reader:
    """Builds plain data from the parser's events and collects what is not allowed."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.problems: list[Problem] = []

    def read(self, events: Iterator[yaml.Event]) -> Any:
        documents = 0
        data: Any = None
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                found = self._node(next(events), events, "", 0)
                data = found if documents == 1 else data
                if documents == 2:
                    self._complain(self.where, f"line {_line(event)}", "starts a second document", "Remove '---'.")
        return data

    def _complain(self, name: str, value: Any, rule: str, cure: str) -> None:
        self.problems.append(Problem(name, value, rule, cure))

    def _node(self, event: yaml.Event, events: Iterator[yaml.Event], path: str, depth: int) -> Any:
        if depth > _MOST_DEPTH:
            raise _TooDeepError
        name = path or self.where
        where = f"(line {_line(event)}), which configs do not use"
        if isinstance(event, yaml.AliasEvent):
            self._complain(name, f"*{event.anchor}", f"is an alias {where}", "Write the value.")
            return None
        if not isinstance(event, yaml.ScalarEvent | yaml.SequenceStartEvent | yaml.MappingStartEvent):
            raise yaml.YAMLError("a value is missing")
        if event.anchor:
            self._complain(name, f"&{event.anchor}", f"is an anchor {where}", "Remove it.")
        if event.tag is not None:
            self._complain(name, event.tag, f"is a YAML tag {where}", "Write a plain value.")
        if isinstance(event, yaml.SequenceStartEvent):
            return self._sequence(events, path, depth)
        if isinstance(event, yaml.MappingStartEvent):
            return self._mapping(events, path, depth)
        return scalar(event.value) if event.style is None else event.value

    def _sequence(self, events: Iterator[yaml.Event], path: str, depth: int) -> list[Any]:
        items: list[Any] = []
        for event in events:
            if isinstance(event, yaml.SequenceEndEvent):
                break
            items.append(self._node(event, events, f"{path}[{len(items)}]", depth + 1))
        return items

    def _mapping(self, events: Iterator[yaml.Event], path: str, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        lines: dict[str, int] = {}
        for event in events:
            if isinstance(event, yaml.MappingEndEvent):
                break
            line = _line(event)
            if not isinstance(event, yaml.ScalarEvent):
                self._node(event, events, path, depth + 1)  # read past it
                self._complain(path or self.where, f"line {line}", "has a key that is not plain text", "Use a word.")
                key = ""
            else:
                self._node(event, events, path, depth + 1)  # for its tag and anchor
                key = event.value
            name = f"{path}.{key}".removeprefix(".")
            value = self._node(next(events), events, name, depth + 1)
            if key in found:
                rule = f"stands twice (lines {lines[key]} and {line})"
                self._complain(name, value, rule, "Keep one of them.")
            found[key], lines[key] = value, line
        return found


def _line(event: yaml.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark else 0


def _not_yaml(error: yaml.YAMLError, where: str) -> Problem:
    mark = getattr(error, "problem_mark", None)
    what = getattr(error, "problem", None) or getattr(error, "reason", None) or "it cannot be read"
    place = f"line {mark.line + 1}, column {mark.column + 1}" if mark else "its text"
    return Problem(where, place, f"is not valid YAML: {what}", "Check indentation, quotes and brackets there.")


class _Dumper(yaml.SafeDumper):
    """Quotes what YAML 1.1 or 1.2 would read as something else than text."""


# Line ends that YAML folds in any other style, and a byte order mark that a reader drops.
_FOLDED = re.compile("[\x85\u2028\u2029\ufeff]")


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"' if _FOLDED.search(text) else None)


_Dumper.add_representer(str, _text)
_Dumper.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(rf"^(?:{_FLOAT.pattern}|{_INT.pattern})$"), list("-+.0123456789")
)
