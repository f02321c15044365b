"""What an alias points to: one version or several by weight, a shadow, and the limits that end a trial of it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from tuner.errors import ConfigError, Problem
from tuner.registry.names import AdapterName, is_version

MAX_WEIGHT = 1e6
"""Weights lie between its inverse and it: their sum stays exact, and no version's share is lost to rounding."""
MAX_REQUESTS = 1_000_000
WORDS = 500
"""Letters of `by` and `why`: a sentence for a list, not a document."""


@dataclass(frozen=True)
class Share:
    """A version and the share of requests that it answers, 0 to 1; those of a split sum to 1."""

    version: str
    weight: float


@dataclass(frozen=True)
class Limits:
    """When a split goes back to what stood before: over the last `requests` of a version, a larger share of errors
    (0 to 1), a higher mean latency in ms, or one so many times that of the other version. None is no limit."""

    max_errors: float | None = None
    max_latency_ms: float | None = None
    max_latency_ratio: float | None = None
    requests: int = 100

    def problems(self) -> Iterator[Problem]:
        """What is wrong with them."""
        if self.max_errors is not None and not 0 <= self.max_errors < 1:
            yield Problem("max_errors", self.max_errors, "a share of errors lies from 0 to below 1", "Try 0.02.")
        if self.max_latency_ms is not None and not (math.isfinite(self.max_latency_ms) and self.max_latency_ms > 0):
            yield Problem("max_latency_ms", self.max_latency_ms, "milliseconds must be more than 0", "Try 200.")
        ratio = self.max_latency_ratio
        if ratio is not None and not (math.isfinite(ratio) and ratio >= 1):
            yield Problem("max_latency_ratio", ratio, "it must be at least 1, which is as slow as the other", "Try 2.")
        if not 1 <= self.requests <= MAX_REQUESTS:
            yield Problem("requests", self.requests, f"it must be from 1 to {MAX_REQUESTS:,}", "Try 100.")
        if self.max_errors is None and self.max_latency_ms is None and ratio is None:
            yield Problem("limits", None, "there is none among them", "Give a share of errors or a latency.")


@dataclass(frozen=True)
class Target:
    """A split with its shadow, which is asked too but does not answer, and its limits. The first version of the split
    stands; the others are on trial, as long as there are limits."""

    split: tuple[Share, ...]
    shadow: str | None = None
    limits: Limits | None = None

    @classmethod
    def of(cls, split: Mapping[str, float], shadow: str | None = None, limits: Limits | None = None) -> Target:
        """From weights of any size. Raises ConfigError with all that is wrong."""
        problems = list(_problems(split, shadow, limits))
        if problems:
            raise ConfigError(problems)
        total = math.fsum(split.values())
        return cls(tuple(Share(version, weight / total) for version, weight in split.items()), shadow, limits)

    @property
    def versions(self) -> frozenset[str]:
        """Every version it needs, the shadow among them."""
        return frozenset(share.version for share in self.split) | ({self.shadow} if self.shadow else frozenset())

    def __str__(self) -> str:
        shares = self.split if len(self.split) > 1 else ()
        words = [f"{share.version} {100 * share.weight:.4g} %" for share in shares] or [self.split[0].version]
        return ", ".join([*words, *([f"shadow {self.shadow}"] if self.shadow else [])])


@dataclass(frozen=True)
class Change:
    """One change of an alias. `target` None means that it was removed. `number` counts the alias's changes from 1;
    `back_to` is the number of the change that a rollback restored. `when` is in seconds since the epoch."""

    number: int
    target: Target | None
    when: float
    by: str
    why: str = ""
    back_to: int | None = None


@dataclass(frozen=True)
class Alias:
    """An alias as it stands: what it points to, since when, by whom and why."""

    name: AdapterName
    alias: str
    target: Target
    changed: float
    by: str
    why: str

    def __str__(self) -> str:
        return f"{self.name}@{self.alias}"


def check_words(**texts: str) -> None:
    """Refuse what would break a line of a list: raises ConfigError for control characters and for long texts."""
    problems = [
        Problem(name, text, f"it must be one line of at most {WORDS} letters, without control characters")
        for name, text in texts.items()
        if len(text) > WORDS or not text.isprintable()
    ]
    if not texts.get("by", "someone").strip():
        problems.append(Problem("by", texts["by"], "it must say who makes the change"))
    if problems:
        raise ConfigError(problems)


def _problems(split: Mapping[str, float], shadow: str | None, limits: Limits | None) -> Iterator[Problem]:
    if not split:
        yield Problem("split", {}, "an alias points to one version or more", "Name a version.")
    yield from _not_versions([*split, *([shadow] if shadow is not None else [])])
    for version, weight in split.items():
        if not (math.isfinite(weight) and 1 / MAX_WEIGHT <= weight <= MAX_WEIGHT):
            yield Problem(f"weight of {version}", weight, "a weight lies from 0.000001 to 1,000,000", "Try 1.")
    if shadow is not None and shadow in split:
        yield Problem("shadow", shadow, "it answers already, so it cannot be compared with itself")
    if limits is not None:
        yield from limits.problems()


def _not_versions(names: Iterable[str]) -> Iterator[Problem]:
    for name in names:
        if not is_version(name):
            yield Problem("version", name, "a version is 12 hex digits", "`tuner registry list` shows them.")
