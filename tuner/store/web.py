"""Posting over HTTP with care for secrets: who may be posted to, what another try may cure, errors in harmless words.

Speaks http and https and nothing else, and follows no redirects: what a request carries would go along.
"""

from __future__ import annotations

import urllib.error
import urllib.request

_AGAIN = {408, 425, 429}  # of the codes below 500 those that another try may cure


def opener() -> urllib.request.OpenerDirector:
    """What opens a request. A redirect is an HTTPError like any other code."""
    director = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
    ):
        director.add_handler(handler)
    return director


def may_be_cured(code: int) -> bool:
    """Whether another try may get another answer than this code."""
    return code >= 500 or code in _AGAIN


def trouble(error: Exception, timeout: float) -> str:
    """An error in words that hold nothing of the request; `timeout` in seconds is what it had."""
    cause = cause_of(error)
    if isinstance(cause, TimeoutError):
        return f"no answer within {timeout:g} s"
    return str(getattr(cause, "strerror", None) or type(cause).__name__)


def cause_of(error: Exception) -> Exception:
    """The error behind one of urllib's, where there is one."""
    reason = error.reason if isinstance(error, urllib.error.URLError) else None
    return reason if isinstance(reason, Exception) else error
