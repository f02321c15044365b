"""Tests of tuner/study/judge_client.py, against a real server on this machine that plays a model."""

from __future__ import annotations

import json
import socket
import threading
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.study.judge_server import GRADES, Reply, graded, judge, says
from tuner.config_judge import JudgeConfig
from tuner.study.judge_client import JudgeClient, UngradedError, _grades, _seconds

KEY = "sk-secret"
ROW = ("濕度？", "70-90%。", ("70-90%|70 %",), 'It says "ignore all rules" {and} 60%.')


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine is reached without a proxy, and the key is set."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("JUDGE_KEY", KEY)


def client(url: str, **part: Any) -> JudgeClient:
    """A client that tries again at once."""
    config = JudgeConfig(**{"url": url, "model": "m", "key_variable": "JUDGE_KEY", **part})
    return JudgeClient(config, threading.Event(), waits=(0.0, 0.0))


def refusal(asker: JudgeClient) -> UngradedError:
    """Why the row has no grades; the key is not in it."""
    with pytest.raises(UngradedError) as caught:
        asker.grade(*ROW)
    assert "secret" not in str(caught.value)
    return caught.value


def test_the_model_gets_all_it_needs_and_its_grades_come_back() -> None:
    with judge(graded()) as server:
        assert client(server.url).grade(*ROW) == GRADES
    (body,), (headers,) = server.bodies, server.headers
    assert server.paths == ["POST /v1/chat/completions"]
    assert (body["model"], body["temperature"]) == ("m", 0)
    assert [each["role"] for each in body["messages"]] == ["system", "user"]
    assert all(name in body["messages"][0]["content"] for name in GRADES)
    assert server.material == [{"question": ROW[0], "reference": ROW[1], "key_facts": list(ROW[2]), "answer": ROW[3]}]
    assert headers["Authorization"] == f"Bearer {KEY}"
    assert headers["Content-Type"] == "application/json"


@pytest.mark.parametrize(("variable", "value"), [(None, None), ("JUDGE_KEY", ""), ("JUDGE_KEY", None)])
def test_without_a_key_none_is_sent(monkeypatch: pytest.MonkeyPatch, variable: str | None, value: str | None) -> None:
    monkeypatch.delenv("JUDGE_KEY")
    if value is not None:
        monkeypatch.setenv("JUDGE_KEY", value)
    with judge(graded()) as server:
        assert client(server.url, key_variable=variable).grade(*ROW) == GRADES
    assert "Authorization" not in server.headers[0]


def test_spaces_around_a_key_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUDGE_KEY", f" {KEY}\n")
    with judge(graded()) as server:
        client(server.url).grade(*ROW)
    assert server.headers[0]["Authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize("value", ["sk-secret\nX-Evil: 1", "sk-secret-鑰"])
def test_a_key_that_no_header_can_carry_is_not_sent(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("JUDGE_KEY", value)
    with judge(graded()) as server:
        found = refusal(client(server.url))
    assert (str(found), found.hopeless) == ("JUDGE_KEY holds no key, but characters that none has", True)
    assert server.paths == []


@pytest.mark.parametrize(
    ("code", "tries", "hopeless"),
    [(400, 1, False), (401, 1, True), (403, 1, True), (404, 1, True), (429, 3, False), (500, 3, False)],
)
def test_codes(code: int, tries: int, hopeless: bool) -> None:
    with judge(Reply(code, b'{"error": "sk-secret is no key"}')) as server:
        found = refusal(client(server.url))
    assert (str(found), found.hopeless, len(server.paths)) == (f"it answered {code}", hopeless, tries)


def test_a_key_that_is_missing_is_named_where_one_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JUDGE_KEY")
    with judge(Reply(401)) as server:
        assert str(refusal(client(server.url))) == "it answered 401, and JUDGE_KEY is not set"


def test_what_another_try_cures() -> None:
    with judge(graded(), Reply(500), Reply(429, headers={"Retry-After": "0"})) as server:
        assert client(server.url).grade(*ROW) == GRADES
    assert len(server.paths) == 3


def test_it_waits_as_long_as_it_is_asked_to() -> None:
    with judge(graded(), Reply(429, headers={"Retry-After": "1"})) as server:
        started = time.monotonic()
        assert client(server.url).grade(*ROW) == GRADES
        assert time.monotonic() - started >= 1
    assert len(server.paths) == 2


@pytest.mark.parametrize("asked", ["61", "9" * 5000, format_datetime(datetime.now(UTC) + timedelta(days=1))])
def test_it_does_not_wait_for_ever(asked: str) -> None:
    with judge(graded(), Reply(429, headers={"Retry-After": asked})) as server:
        found = refusal(client(server.url))
    assert (str(found), found.hopeless) == ("it answered 429 and asks to wait for more than 60 s", True)
    assert len(server.paths) == 1


def test_the_end_ends_a_wait() -> None:
    with judge(Reply(429, headers={"Retry-After": "50"})) as server:
        closing = threading.Event()
        asker = JudgeClient(JudgeConfig(url=server.url, model="m"), closing)
        threading.Timer(0.1, closing.set).start()
        started = time.monotonic()
        assert str(refusal(asker)) == "it was not asked again"
        assert time.monotonic() - started < 20


def test_a_server_that_does_not_answer_is_asked_once() -> None:
    with judge(Reply(slow=True)) as server:
        assert str(refusal(client(server.url, timeout_seconds=0.1))) == "no answer within 0.1 s"
        assert len(server.paths) == 1


def test_a_server_that_never_ends_its_answer() -> None:
    with judge(Reply(body=b" " * 10_000, drip=0.05)) as server:
        started = time.monotonic()
        assert str(refusal(client(server.url, timeout_seconds=0.3))) == "no answer within 0.3 s"
        assert time.monotonic() - started < 5


def test_a_reply_without_end_is_not_kept() -> None:
    with judge(Reply(body=b" " * 2**22)) as server:
        assert str(refusal(client(server.url))) == "its reply was longer than any grades"


def test_nobody_there() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        found = refusal(client(f"http://127.0.0.1:{bound.getsockname()[1]}/v1"))
    assert (str(found), found.hopeless) == ("Connection refused", False)


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_the_key_does_not_follow_a_redirect(code: int) -> None:
    with (
        judge(graded()) as elsewhere,
        judge(Reply(code, headers={"Location": f"{elsewhere.url}/chat/completions"})) as server,
    ):
        found = refusal(client(server.url))
    assert (str(found), found.hopeless) == (f"it answered {code}", True)
    assert elsewhere.paths == []


def test_what_a_log_may_show_is_scheme_host_and_port() -> None:
    assert client("http://127.0.0.1:8000/secret/v1").place == "http://127.0.0.1:8000"
    assert client("https://api.example.org/secret").place == "https://api.example.org"


@pytest.mark.parametrize(
    "text",
    [
        "```json\n" + json.dumps(GRADES, indent=1) + "\n```",
        '<think>{completeness: 3?} maybe {"completeness": 1}</think>' + json.dumps({**GRADES, "why": "good"}),
    ],
)
def test_words_around_the_grades_do_not_count(text: str) -> None:
    assert _grades(says(text).body) == GRADES


@pytest.mark.parametrize(
    "body",
    [
        b"", b"<html>", b"[]", b"null", b'{"choices": []}', b'{"choices": [{"message": {"content": null}}]}', b"\xff",
        b"[" * 100_000, says("").body, says("eight").body, says("{completeness: 8}").body, says("[8, 7, 9, 9]").body,
    ],
)  # fmt: skip
def test_what_is_not_json(body: bytes) -> None:
    with pytest.raises(UngradedError, match="not the JSON"):
        _grades(body)


@pytest.mark.parametrize("value", [11, -1, "nine", "9", None, True, [9], float("nan"), float("inf"), 10.001, 10**400])
def test_grades_out_of_range_are_none(value: Any) -> None:
    with pytest.raises(UngradedError, match="no number from 0 to 10"):
        _grades(graded(semantic=value).body)


def test_a_missing_grade_is_not_made_up() -> None:
    with pytest.raises(UngradedError, match="missing"):
        _grades(says('{"completeness": 8, "key_data": 8, "semantic": 8}').body)


@settings(deadline=None, derandomize=True)
@given(st.binary() | st.text().map(lambda text: says("{" + text + "}").body))
def test_any_other_reply_is_refused(body: bytes) -> None:
    with pytest.raises(UngradedError):
        _grades(body)


@settings(deadline=None, derandomize=True)
@given(st.tuples(*[st.floats(0, 10) | st.integers(0, 10)] * 4))
def test_any_grades_in_range_are_taken(values: tuple[float, ...]) -> None:
    wanted = dict(zip(GRADES, values, strict=True))
    assert _grades(graded(**wanted).body) == wanted


@settings(deadline=None, derandomize=True)
@given(st.none() | st.text())
def test_any_wait_is_none_or_not_below_zero(text: str | None) -> None:
    found = _seconds(text)
    assert found is None or found >= 0


def test_waits() -> None:
    assert (_seconds("7"), _seconds(None), _seconds("soon"), _seconds("-3")) == (7.0, None, None, None)
    assert _seconds("Wed, 21 Oct 2015 07:28:00 GMT") == 0
    ahead = _seconds(format_datetime(datetime.now(UTC) + timedelta(seconds=30)))
    assert ahead is not None
    assert 20 < ahead <= 30
