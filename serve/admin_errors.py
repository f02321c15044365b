"""What can be wrong with a change of the registry over HTTP. Errors of the library are answered by what a client can do
about them, and without the server's paths."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from serve.errors import ServeError
from serve.pathless import pathless_error
from serve.promotion import NotSoundError
from tuner.errors import BaseModelError, ConfigError, DataError, DeviceError, StudyError, TunerError


class ConflictError(ServeError):
    """What was asked for cannot be done as things stand."""

    status = 409
    code = "conflict"


class RefusedError(ServeError):
    """An adapter that may not be promoted; no try with the same will be different."""

    status = 422
    code = "invalid_request"


class BaseMissingError(ServeError):
    """The base of an adapter cannot be loaded on this server."""

    status = 503
    code = "base_failed"


class BusyError(ServeError):
    """A promotion is under way: two would need twice the memory."""

    status = 429
    code = "promotion_under_way"
    retry_after = 5.0


@contextmanager
def conflicts() -> Iterator[None]:
    """What the registry refuses, though all that was named is there, is refused as things stand."""
    try:
        yield
    except ConfigError as error:
        raise ConflictError(str(error), error.problems[0].name if error.problems else None) from error


def refusal(error: TunerError, folders: Iterable[Path]) -> TunerError:
    """An error of a promotion as a client may read it; what it need not know is the application's to answer."""
    words = pathless_error(error, folders)
    param = error.problems[0].name if isinstance(error, ConfigError | DataError) and error.problems else None
    match error:
        case ConfigError() | DataError() | NotSoundError():
            return RefusedError(words, param)
        case StudyError():
            return ConflictError(words, "study")
        case BaseModelError() | DeviceError():
            return BaseMissingError(words)
        case _:
            return error
