"""What can be wrong with a request once it is known to be well-formed and allowed; each knows the status it is answered
with."""

from __future__ import annotations

from tuner.errors import TunerError


class ServeError(TunerError):
    """Base of them. `status` is HTTP's, `code` a word for programs, `param` the field that is at fault, and
    `retry_after` the seconds after which another try may be worth it."""

    status = 500
    code = "server_error"
    param: str | None = None
    retry_after: float | None = None

    def __init__(self, message: str, param: str | None = None) -> None:
        if param is not None:
            self.param = param
        super().__init__(message)


class UnknownAdapterError(ServeError):
    """No adapter of this name is served."""

    status = 404
    code = "model_not_found"
    param = "adapter"


class AdapterFailedError(ServeError):
    """An adapter that is registered cannot be loaded, or does not answer soundly."""

    status = 503
    code = "adapter_failed"


class QueueFullError(ServeError):
    """More requests are under way than the server takes."""

    status = 429
    code = "queue_full"

    def __init__(self, limit: int, retry_after: float) -> None:
        self.retry_after = retry_after
        super().__init__(f"{limit} requests are under way, which is as many as are taken. Try again soon.")


class TooSlowError(ServeError):
    """An answer took longer than a request may."""

    status = 504
    code = "timeout"

    def __init__(self, seconds: float) -> None:
        super().__init__(f"There was no answer within {seconds:g} s, so the request was given up.")


class ClosingError(ServeError):
    """The server is going down, and takes no more requests."""

    status = 503
    code = "closing"
    retry_after = 1.0

    def __init__(self) -> None:
        super().__init__("The server is going down. Try again: another one takes over.")
