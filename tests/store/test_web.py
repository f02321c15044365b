"""What the two that post over HTTP share; the tests of the webhook and the judge speak to servers."""

from __future__ import annotations

import urllib.error
import urllib.request

import pytest

from tuner.store import web


def test_nothing_but_http_is_opened() -> None:
    request = urllib.request.Request("file:///etc/hosts")
    assert web.opener().open(request) is None  # nobody there to open it


@pytest.mark.parametrize(
    ("code", "cured"), [(200, False), (302, False), (404, False), (408, True), (429, True), (500, True)]
)
def test_which_codes_another_try_may_cure(code: int, cured: bool) -> None:
    assert web.may_be_cured(code) == cured


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (urllib.error.URLError(ConnectionRefusedError(111, "Connection refused")), "Connection refused"),
        (urllib.error.URLError(TimeoutError()), "no answer within 2.5 s"),
        (urllib.error.URLError("https://secret.example/key"), "URLError"),
        (ValueError("https://secret.example/key"), "ValueError"),
    ],
)
def test_errors_say_nothing_of_the_request(error: Exception, words: str) -> None:
    assert web.trouble(error, 2.5) == words
