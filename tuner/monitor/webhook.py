"""Posts alerts to a URL as JSON, from one background thread; what goes wrong costs the study nothing.

A webhook's URL is a secret: whoever has it may post. The log therefore names its scheme and host only, and no error's
own text, which may hold the rest. Redirects are not followed: a POST that is redirected becomes a GET elsewhere.
"""

from __future__ import annotations

import http.client
import json
import logging
import os
import queue
import threading
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from urllib.parse import urlsplit

from tuner.monitor.alerts import Alert
from tuner.store import web
from tuner.store.files import finite

MOST_WAITING = 100
"""Alerts that wait to be posted at most; more are dropped, with a warning."""

_log = logging.getLogger(__name__)


class Webhook:
    """A URL that gets alerts. `url` is http, https, or $NAME of an environment variable that holds one; without one
    nothing is posted, after one warning. An alert is tried again after each of `waits` (seconds), unless the answer
    says that this is no use; one try ends after `timeout` seconds without a sign of the server."""

    def __init__(self, url: str, waits: Sequence[float] = (1.0, 4.0), timeout: float = 5.0) -> None:
        self._url, self._place = _resolved(url)
        self._waits = tuple(waits)
        self._timeout = timeout
        self._queue: queue.SimpleQueue[tuple[str, bytes] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._closing = threading.Event()
        self._given_up = threading.Event()

    def post(self, alert: Alert, study: str, task: str, now: float) -> None:
        """Queue an alert of a study, at `now` in seconds since the epoch, and return at once."""
        if not self._url or self._closing.is_set():
            return
        if self._queue.qsize() >= MOST_WAITING:
            _log.warning("the alert %s is not posted to %s: too many wait already", alert.name, self._place)
            return
        said = finite(asdict(alert))
        said["alert"] = said.pop("name")
        body = {
            "text": f"{alert.level.capitalize()} in study {study} ({task}): {alert.message}",
            "study": study,
            "task": task,
            **said,
            "time": datetime.fromtimestamp(now).astimezone().isoformat(timespec="seconds"),
        }
        self._queue.put((alert.name, json.dumps(body, allow_nan=False).encode()))
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="webhook", daemon=True)
            self._thread.start()

    def close(self, timeout: float = 5.0) -> None:
        """Post what waits, without further pauses between tries, for at most `timeout` seconds. Nothing is posted
        afterwards."""
        self._closing.set()
        if self._thread is None:
            return
        self._queue.put(None)
        self._thread.join(timeout)
        if self._thread.is_alive():
            self._given_up.set()
            _log.warning("some alerts could not be posted to %s before the study ended", self._place)

    def _work(self) -> None:
        opener = web.opener()
        while (item := self._queue.get()) is not None and not self._given_up.is_set():
            self._deliver(opener, *item)

    def _deliver(self, opener: urllib.request.OpenerDirector, name: str, body: bytes) -> None:
        tries = 0
        for wait in (*self._waits, None):
            tries += 1
            trouble, again = self._try(opener, body)
            if not trouble or self._given_up.is_set():
                return
            if not again or wait is None:
                break
            self._closing.wait(wait)
        times = f"{tries} tries" if tries > 1 else "one try"
        _log.warning("the alert %s could not be posted to %s after %s: %s", name, self._place, times, trouble)

    def _try(self, opener: urllib.request.OpenerDirector, body: bytes) -> tuple[str, bool]:
        """What was wrong, "" if nothing, and whether another try may cure it."""
        headers = {"Content-Type": "application/json", "User-Agent": "tuner"}
        try:
            request = urllib.request.Request(self._url, body, headers, method="POST")
            with opener.open(request, timeout=self._timeout):
                return "", False
        except urllib.error.HTTPError as error:
            error.close()
            return f"it answered {error.code}", web.may_be_cured(error.code)
        except (http.client.InvalidURL, ValueError) as error:
            return type(error).__name__, False
        except (OSError, http.client.HTTPException) as error:
            return web.trouble(error, self._timeout), True


def _resolved(url: str) -> tuple[str, str]:
    """The URL and what may be shown of it; two empty texts, after a warning, where there is none to post to."""
    source = "alerts.webhook"
    if url.startswith("$"):
        source = f"the environment variable {url[1:]}, which alerts.webhook names,"
        url = os.environ.get(url[1:], "").strip()
        if not url:
            _log.warning("no alert is posted: %s is not set", source)
            return "", ""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or parts.scheme not in ("http", "https"):
        _log.warning("no alert is posted: %s holds no http or https address", source)
        return "", ""
    if "@" in parts.netloc:  # urllib would take all of it for the host's name
        _log.warning("no alert is posted: %s holds a user name, which a webhook here cannot have", source)
        return "", ""
    return url, f"{parts.scheme}://{host}" + (f":{port}" if port else "")
