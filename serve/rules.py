"""The route table of a guard: which method on which path needs which scope. What is not in it does not exist.

Patterns are written as FastAPI writes them: `/admin/adapters/{name}`, `/files/{rest:path}`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from serve.keys import SCOPES
from tuner.errors import ConfigError, Problem

OPEN = "open"
"""The scope of a route that needs no key."""

UNKNOWN = "unknown"
"""What logs and metrics call a path that is in no table."""

MIB = 1 << 20
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")

_PARAMETER = re.compile(r"\{\w+(:path)?\}")


@dataclass(frozen=True, slots=True)
class Rule:
    """One route. POST, PUT and PATCH take a JSON body of at most `limit` bytes that has arrived within `seconds`; a
    limit of 0 says that the route takes none, as for all other methods."""

    method: str
    path: str
    scope: str
    limit: int = MIB
    seconds: float = 10.0

    @property
    def takes_body(self) -> bool:
        """Whether a body belongs to the request."""
        return self.limit > 0 and self.method in ("POST", "PUT", "PATCH")


@dataclass(frozen=True, slots=True)
class Match:
    """What a table says of a request: its rule, or None; the path's template; and, without a rule, which methods the
    path has (none: there is no such path) and whether everybody may know of it."""

    rule: Rule | None
    path: str = UNKNOWN
    methods: tuple[str, ...] = ()
    is_open: bool = False


class Table:
    """Rules, found by method and path. Raises ConfigError for rules that cannot be: an unknown scope or method, a path
    without its slash, or two rules for one request that differ in their scope."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        self._rules = tuple(rules)
        self._matches = {rule: Match(rule, rule.path, (rule.method,), rule.scope == OPEN) for rule in self._rules}
        self._patterns = {rule: _compiled(rule.path) for rule in self._rules}
        self._fixed = {
            (rule.method, rule.path): self._matches[rule] for rule in self._rules if not _PARAMETER.search(rule.path)
        }
        if problems := [problem for rule in self._rules for problem in self._problems(rule)]:
            raise ConfigError(problems)

    def find(self, method: str, path: str) -> Match:
        """What to do with a request; the path is without the application's root path."""
        match = self._fixed.get((method, path))
        if match is not None:
            return match
        near = [rule for rule, pattern in self._patterns.items() if pattern.fullmatch(path)]
        for rule in near:
            if rule.method == method:
                return self._matches[rule]
        if not near:
            return _NOWHERE
        methods = tuple(sorted({rule.method for rule in near}))
        return Match(None, near[0].path, methods, any(rule.scope == OPEN for rule in near))

    def _problems(self, rule: Rule) -> Iterable[Problem]:
        name = f"rule {rule.method} {rule.path}"
        if rule.scope not in (*SCOPES, OPEN):
            yield Problem(name, rule.scope, "is not a scope", f"Use one of: {', '.join((*SCOPES, OPEN))}.")
        if rule.method not in METHODS:
            yield Problem(name, rule.method, "is not a method that a route may have", f"Use: {', '.join(METHODS)}.")
        if not rule.path.startswith("/"):
            yield Problem(name, rule.path, "does not begin with a slash")
        sample = _PARAMETER.sub("x", rule.path)
        for other, pattern in self._patterns.items():
            # Which of the two the application takes is not for the guard to know.
            if other.method == rule.method and other.scope != rule.scope and pattern.fullmatch(sample):
                yield Problem(name, rule.scope, f"{other.path} matches the same requests with another scope")


_NOWHERE = Match(None)


def _compiled(path: str) -> re.Pattern[str]:
    parts, at = [], 0
    for found in _PARAMETER.finditer(path):
        parts += [re.escape(path[at : found.start()]), ".+" if found[1] else "[^/]+"]
        at = found.end()
    return re.compile("".join([*parts, re.escape(path[at:])]))
