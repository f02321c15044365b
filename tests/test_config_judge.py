"""Tests of tuner/config_judge.py: which judge a config may name, and that a key in the wrong place is not repeated."""

from __future__ import annotations

from typing import Any

import pytest

from tests.test_config import VALID, problems
from tuner.config import JudgeConfig, StudyConfig

URL = "http://localhost:8000/v1"


def judge(**part: Any) -> dict[str, Any]:
    """A valid config with such a judge."""
    return {**VALID, "judge": part}


def test_there_is_none_unless_it_is_asked_for() -> None:
    found = StudyConfig.model_validate(VALID).judge
    assert found == JudgeConfig()
    assert (found.url, found.key_variable, found.items) == (None, "OPENAI_API_KEY", 50)
    assert (found.timeout_seconds, found.concurrent) == (30.0, 4)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (URL, URL),
        (f"{URL}/", URL),
        ("https://api.example.org", "https://api.example.org"),
        ("http://[::1]:8000/v1", "http://[::1]:8000/v1"),
        ("http://127.0.0.1:8000/a/b@c", "http://127.0.0.1:8000/a/b@c"),
    ],
)
def test_addresses(given: str, kept: str) -> None:
    found = StudyConfig.model_validate(judge(url=given, model="org/m:7b", key_variable=None)).judge
    assert (found.url, found.model, found.key_variable) == (kept, "org/m:7b", None)


@pytest.mark.parametrize(
    ("part", "name", "words"),
    [
        ({"url": "ftp://x.org/v1"}, "url", "http"),
        ({"url": "file:///etc/passwd"}, "url", "http"),
        ({"url": "localhost:8000/v1"}, "url", "http"),
        ({"url": "http://"}, "url", "http"),
        ({"url": "http://:8000/v1"}, "url", "http"),
        ({"url": "http://x.org:port/v1"}, "url", "http"),
        ({"url": "http://x.org:70000/v1"}, "url", "http"),
        ({"url": "http://[::1/v1"}, "url", "http"),
        ({"url": "http://x.org/v 1"}, "url", "http"),
        ({"url": "http://x.org/\nv1"}, "url", "http"),
        ({"url": "http://me:secret@x.org/v1"}, "url", "no user name or password"),
        ({"url": "http://secret@x.org/v1"}, "url", "no user name or password"),
        ({"url": f"{URL}?api-key=secret"}, "url", "no ? or #"),
        ({"url": f"{URL}#secret"}, "url", "no ? or #"),
        ({"url": f"{URL}/chat/completions/"}, "url", "before /chat/completions"),
        ({"url": URL, "model": None}, "model", "must be given where url is"),
        ({"url": URL, "model": " "}, "model", "not empty"),
        ({"model": "a\nb"}, "model", "printable"),
        ({"key_variable": "sk-secret"}, "key_variable", "name of an environment variable"),
        ({"key_variable": "secret"}, "key_variable", "in capitals"),
        ({"key_variable": ""}, "key_variable", "name of an environment variable"),
        ({"key": "sk-secret"}, "key", "not a known key"),
        ({"items": 0}, "items", "at least 1"),
        ({"timeout_seconds": 0}, "timeout_seconds", "above 0"),
        ({"timeout_seconds": float("inf")}, "timeout_seconds", "finite"),
        ({"concurrent": 0}, "concurrent", "at least 1"),
        ({"concurrent": 65}, "concurrent", "at most 64"),
    ],
)
def test_what_cannot_be_is_named_and_no_key_shown(part: dict[str, Any], name: str, words: str) -> None:
    given = {"model": "m", **part}
    found = problems(judge(**given))
    assert found.keys() == {f"judge.{name}"}
    assert words in found[f"judge.{name}"].rule
    assert "secret" not in str(found[f"judge.{name}"])


def test_a_model_is_needed_only_where_there_is_an_address() -> None:
    assert problems(judge(url=URL)).keys() == {"judge.model"}
    assert problems(judge(url="nowhere")).keys() == {"judge.url"}


def test_a_number_that_is_wrong_is_shown() -> None:
    assert "-3" in str(problems(judge(items=-3))["judge.items"])


@pytest.mark.parametrize(
    "url", ["http://10.0.0.7:8000/v1", "http://gpu.example.org/v1", "http://127.0.0.1.example.org"]
)
def test_the_usual_key_is_not_sent_in_clear_text(url: str) -> None:
    found = problems(judge(url=url, model="m"))
    assert found.keys() == {"judge"}
    assert "key_variable: null" in found["judge"].cure
    for name in (None, "OPENAI_API_KEY"):
        kept = StudyConfig.model_validate(judge(url=url, model="m", key_variable=name)).judge
        assert kept.key_variable == name


@pytest.mark.parametrize(
    "url", ["https://x.org", "http://LOCALHOST:1", "http://127.3.2.1:8000/v1", "http://[::1]:8000"]
)
def test_the_usual_key_is_sent_encrypted_or_to_this_machine(url: str) -> None:
    assert StudyConfig.model_validate(judge(url=url, model="m")).judge.key_variable == "OPENAI_API_KEY"
