"""Tests of tuner/monitor/webhook.py, against a real server on this machine."""

from __future__ import annotations

import math
import socket
from datetime import datetime

import pytest

import tuner.monitor.webhook
from tests.monitor.server import receiver
from tuner.monitor.alerts import Alert
from tuner.monitor.webhook import Webhook

ALERT = Alert("total_loss", "warning", "The total loss is 0.9.", 0.9, 0.8)
NOW = 1_800_000_000.0
SECRET = "/services/T0/verysecret?token=alsosecret"


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine is reached without a proxy, whatever the environment says."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def post(url: str, *alerts: Alert, timeout: float = 5.0, close: float = 30.0) -> None:
    """Post alerts and wait for all of them; tries follow at once."""
    webhook = Webhook(url, waits=(0.0, 0.0), timeout=timeout)
    for alert in alerts or (ALERT,):
        webhook.post(alert, "reviews", "sentiment", NOW)
    webhook.close(close)


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was logged, none of which may hold the secret parts of a URL."""
    found = [record.getMessage() for record in caplog.records]
    assert "secret" not in caplog.text
    return found


def test_an_alert_arrives_as_json(caplog: pytest.LogCaptureFixture) -> None:
    with receiver() as server:
        post(server.url + SECRET, ALERT, Alert("disk", "critical", "Only 3 MB.", math.nan, None))
    assert server.paths == [f"POST {SECRET}"] * 2
    assert server.types == ["application/json"] * 2
    assert server.bodies[0] == {
        "text": "Warning in study reviews (sentiment): The total loss is 0.9.",
        "study": "reviews",
        "task": "sentiment",
        "alert": "total_loss",
        "level": "warning",
        "message": "The total loss is 0.9.",
        "value": 0.9,
        "limit": 0.8,
        "time": server.bodies[0]["time"],
    }
    assert datetime.fromisoformat(server.bodies[0]["time"]).timestamp() == NOW
    assert (server.bodies[1]["value"], server.bodies[1]["limit"]) == (None, None)
    assert warnings_of(caplog) == []


def test_errors_of_the_server_are_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    with receiver(500, 429) as server:
        post(server.url)
    assert len(server.bodies) == 3
    assert warnings_of(caplog) == []


def test_after_three_tries_it_is_given_up_and_the_next_alert_is_tried(caplog: pytest.LogCaptureFixture) -> None:
    with receiver(500, 502, 503) as server:
        post(server.url + SECRET, ALERT, Alert("disk", "critical", "Only 3 MB.", 3.0, 1000.0))
    assert [body["alert"] for body in server.bodies] == ["total_loss"] * 3 + ["disk"]
    assert warnings_of(caplog) == [
        f"the alert total_loss could not be posted to {server.url} after 3 tries: it answered 503"
    ]


def test_an_answer_that_will_stay_the_same_is_not_asked_for_again(caplog: pytest.LogCaptureFixture) -> None:
    with receiver(404) as server:
        post(server.url + SECRET)
    assert len(server.bodies) == 1
    assert warnings_of(caplog) == [
        f"the alert total_loss could not be posted to {server.url} after one try: it answered 404"
    ]


@pytest.mark.parametrize("target", ["ftp://127.0.0.1/secret", "file:///etc/secret", "/elsewhere/secret"])
@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_redirects_are_not_followed(caplog: pytest.LogCaptureFixture, code: int, target: str) -> None:
    with receiver(code, location=target) as server:
        post(server.url)
    assert server.paths == ["POST "] or server.paths == ["POST /"]
    assert f"it answered {code}" in warnings_of(caplog)[0]


def test_nobody_there(caplog: pytest.LogCaptureFixture) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        place = f"http://127.0.0.1:{bound.getsockname()[1]}"
        post(place + SECRET)
    assert warnings_of(caplog) == [
        f"the alert total_loss could not be posted to {place} after 3 tries: Connection refused"
    ]


def test_a_server_that_does_not_answer(caplog: pytest.LogCaptureFixture) -> None:
    with receiver(0, 0, 0) as server:
        post(server.url + SECRET, timeout=0.05)
    assert warnings_of(caplog) == [
        f"the alert total_loss could not be posted to {server.url} after 3 tries: no answer within 0.05 s"
    ]


def test_the_end_of_a_study_waits_for_so_long_and_no_longer(caplog: pytest.LogCaptureFixture) -> None:
    with receiver(0) as server:
        webhook = Webhook(server.url + SECRET, timeout=30.0)
        webhook.post(ALERT, "reviews", "sentiment", NOW)
        webhook.close(timeout=0.05)
        said = warnings_of(caplog)
        webhook.post(ALERT, "reviews", "sentiment", NOW)
    assert said == [f"some alerts could not be posted to {server.url} before the study ended"]
    assert len(server.bodies) <= 1


def test_pauses_between_tries_end_with_the_study() -> None:
    with receiver(500, 500) as server:
        webhook = Webhook(server.url, waits=(3600.0, 3600.0))
        webhook.post(ALERT, "reviews", "sentiment", NOW)
        webhook.close(timeout=60.0)
    assert len(server.bodies) == 3


def test_more_than_it_can_post_is_dropped(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(tuner.monitor.webhook, "MOST_WAITING", 3)
    with receiver(0) as server:
        webhook = Webhook(server.url + SECRET, timeout=30.0)
        for _ in range(10):
            webhook.post(ALERT, "reviews", "sentiment", NOW)
        server.released.set()
        webhook.close(timeout=60.0)
    # the thread may have taken one from the queue before it filled
    assert 3 <= len(server.bodies) <= 4
    assert len(warnings_of(caplog)) == 10 - len(server.bodies)


def test_a_name_of_the_environment(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    with receiver() as server:
        monkeypatch.setenv("ALERTS_URL", server.url + SECRET)
        post("$ALERTS_URL")
    assert len(server.bodies) == 1
    assert warnings_of(caplog) == []


@pytest.mark.parametrize(
    ("value", "said"),
    [(None, "is not set"), ("", "is not set"), ("ftp://x/secret", "no http"), ("secret", "no http")],
)
def test_a_name_that_holds_no_address(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, value: str | None, said: str
) -> None:
    monkeypatch.delenv("ALERTS_URL", raising=False)
    if value is not None:
        monkeypatch.setenv("ALERTS_URL", value)
    post("$ALERTS_URL", ALERT, ALERT)
    assert len(warnings_of(caplog)) == 1
    assert "the environment variable ALERTS_URL" in warnings_of(caplog)[0]
    assert said in warnings_of(caplog)[0]


@pytest.mark.parametrize("url", ["http://[::1/secret", "http://h:port/secret", "https:///secret"])
def test_addresses_that_lead_nowhere(caplog: pytest.LogCaptureFixture, url: str) -> None:
    post(url)
    assert warnings_of(caplog) == ["no alert is posted: alerts.webhook holds no http or https address"]


def test_a_password_in_an_address_is_refused(caplog: pytest.LogCaptureFixture) -> None:
    post("https://user:secret@127.0.0.1/hook")
    (said,) = warnings_of(caplog)
    assert said == "no alert is posted: alerts.webhook holds a user name, which a webhook here cannot have"


def test_an_address_that_no_request_can_hold(caplog: pytest.LogCaptureFixture) -> None:
    post("http://127.0.0.1:9/a secret ü")
    (said,) = warnings_of(caplog)
    assert said.startswith("the alert total_loss could not be posted to http://127.0.0.1:9 after one try: ")
