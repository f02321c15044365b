"""Names in the registry: an adapter's, an alias's, and what a request may write to choose one.

Every name is also the name of a folder or stands beside one, so the grammar is strict: ASCII, no slash, no "..",
nothing that begins with a dot. Knows no files.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from tuner.errors import ConfigError, Problem

CHAMPION = "champion"
"""The alias that a name without one stands for."""
VERSION_LENGTH = 12
"""Hex digits of a version's name: the first of its SHA-256."""

_TASK = re.compile(r"[a-z][a-z0-9_]{0,63}")
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_VERSION = re.compile(rf"[0-9a-f]{{{VERSION_LENGTH}}}")
_TASK_RULE = "a task is a lower-case word of letters, digits and underscores, at most 64"
_NAME_RULE = (
    "it is lower-case letters, digits, '.', '_' and '-', at most 64, begins with a letter or a digit, has no '..'"
)


def is_version(text: str) -> bool:
    """Whether a text can name a version: 12 hex digits."""
    return _VERSION.fullmatch(text) is not None


def is_alias(text: str) -> bool:
    """Whether a text can name an alias: a name that does not look like a version."""
    return _is_name(text) and not is_version(text)


def checked_alias(text: str) -> str:
    """The alias. Raises ConfigError if it cannot be one."""
    if is_alias(text):
        return text
    if is_version(text):
        raise ConfigError(Problem("alias", text, "12 hex digits name a version, so no alias may look like one"))
    raise ConfigError(Problem("alias", text, _NAME_RULE, f"Try {CHAMPION}."))


def _is_name(text: str) -> bool:
    return _NAME.fullmatch(text) is not None and ".." not in text


@dataclass(frozen=True, order=True)
class AdapterName:
    """A task and a name, written "sentiment/reviews". Raises ConfigError with all that is wrong."""

    task: str
    name: str

    def __post_init__(self) -> None:
        problems = []
        if not _TASK.fullmatch(self.task):
            problems.append(Problem("task", self.task, _TASK_RULE))
        if not _is_name(self.name):
            problems.append(Problem("name", self.name, _NAME_RULE))
        if problems:
            raise ConfigError(problems)

    @classmethod
    def parse(cls, text: str) -> AdapterName:
        """Read "task/name". Raises ConfigError."""
        task, slash, name = text.partition("/")
        if not slash:
            raise ConfigError(Problem("adapter", text, "it is a task and a name", "Write sentiment/reviews."))
        return cls(task, name)

    def __str__(self) -> str:
        return f"{self.task}/{self.name}"


@dataclass(frozen=True)
class Reference:
    """What a request writes to choose an adapter of a task: "reviews" (its champion), "reviews@canary", or
    "reviews@1a2b3c4d5e6f". `at` is the alias or the version. Raises ConfigError."""

    name: str
    at: str = CHAMPION

    def __post_init__(self) -> None:
        problems = [] if _is_name(self.name) else [Problem("adapter", self.name, _NAME_RULE)]
        if not _is_name(self.at):
            problems.append(
                Problem("adapter", self.at, "what follows the @ is an alias or the 12 hex digits of a version")
            )
        if problems:
            raise ConfigError(problems)

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Read "name" or "name@alias" or "name@version". Raises ConfigError."""
        name, sign, at = text.partition("@")
        return cls(name, at) if sign else cls(name)

    @property
    def is_version(self) -> bool:
        """Whether it names a version, not an alias."""
        return is_version(self.at)

    def __str__(self) -> str:
        return f"{self.name}@{self.at}"
