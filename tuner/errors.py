"""Every error a user can meet, as one tree.

    TunerError             something a person can act on; the CLI prints it as a sentence; exit code 1
    ├── ConfigError        the config, an override or a search space breaks a rule; all mistakes at once; exit code 2
    ├── DataError          the data cannot be used as it is; all mistakes at once; exit code 2
    ├── BaseModelError     a base model cannot be found, checked or loaded
    ├── DeviceError        a device that was asked for is not there or cannot hold the work
    ├── StoreError         results cannot be written or read: no space, no permission, a corrupt file
    ├── StudyError         a study cannot start, resume or end: name taken, nothing finished, changed space
    └── EngineError        an engine broke: its actor died, its model refused
        └── TrialError     one trial cannot go on, with its kind: nan, out_of_memory, failed

A mistake of the user is a `Problem`: name, value, rule, cure. Whoever validates collects all of them before raising.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Problem:
    """One mistake: which name has which value, the rule it breaks and what would cure it."""

    name: str
    value: Any
    rule: str
    cure: str = ""

    def __str__(self) -> str:
        shown = repr(self.value)
        if len(shown) > 80:
            shown = shown[:77] + "..."
        sentence = f"{self.name} = {shown}: {self.rule}"
        return f"{sentence}. {self.cure}" if self.cure else sentence


class TunerError(Exception):
    """Base of all errors that carry a message for a person. `exit_code` is what the CLI ends with."""

    exit_code = 1


class _ProblemsError(TunerError):
    """An error that names several problems at once. `problems` keeps them for programs."""

    exit_code = 2
    subject = "input"

    def __init__(self, problems: Iterable[Problem] | Problem | str) -> None:
        if isinstance(problems, str):
            self.problems: tuple[Problem, ...] = ()
            super().__init__(problems)
            return
        self.problems = (problems,) if isinstance(problems, Problem) else tuple(problems)
        count = len(self.problems)
        head = f"{count} problem{'s' if count != 1 else ''} in the {self.subject}:"
        super().__init__("\n".join([head, *(f"  - {problem}" for problem in self.problems)]))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.problems or str(self),)


class ConfigError(_ProblemsError):
    """The config, an override or a search space breaks a rule."""

    subject = "config"


class DataError(_ProblemsError):
    """The data cannot be used as it is."""

    subject = "data"


class BaseModelError(TunerError):
    """A base model cannot be found, checked or loaded."""


class DeviceError(TunerError):
    """A device that was asked for is not there or cannot hold the work."""


class StoreError(TunerError):
    """Results cannot be written or read."""


class StudyError(TunerError):
    """A study cannot start, resume or end as asked."""


class EngineError(TunerError):
    """An engine broke."""


class TrialError(EngineError):
    """One trial cannot go on. `kind` is "nan", "out_of_memory" or "failed"."""

    def __init__(self, kind: str, message: str) -> None:
        self.kind = kind
        super().__init__(message)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.kind, str(self))
