"""What requests write to choose an adapter: read, and answered with a sentence where it means nothing here."""

from __future__ import annotations

from serve.errors import UnknownAdapterError
from serve.problems import quoted
from tuner.errors import ConfigError
from tuner.registry import Reference, RegistryState

_KEPT = 4096  # references as written, with what they mean
_KNOWN = 10  # names that an error tells


class References:
    """The references to adapters of one task."""

    def __init__(self, task: str) -> None:
        self._task = task
        self._read: dict[str, Reference] = {}

    def read(self, text: str, state: RegistryState) -> Reference:
        """What a text refers to, which need not exist. Raises UnknownAdapterError for what can be no reference."""
        found = self._read.get(text)
        if found is None:
            try:
                found = Reference.parse(text)
            except ConfigError:
                names = sorted(name.name for name in state.adapters if name.task == self._task)
                known = ", ".join(names[:_KNOWN]) or "none yet"
                raise UnknownAdapterError(f"{quoted(text)} is no name of an adapter. Known: {known}.") from None
            if len(self._read) < _KEPT:
                self._read[text] = found
        return found

    def check(self, asked: Reference, state: RegistryState) -> None:
        """Raises UnknownAdapterError, naming what is known, where the registry has no such alias or version."""
        try:
            state.find(self._task, asked)
        except ConfigError as error:
            problem = error.problems[0]
            rule = f"{problem.rule[0].upper()}{problem.rule[1:]}"
            raise UnknownAdapterError(f"{rule}: {quoted(str(problem.value))}. {problem.cure}") from None
