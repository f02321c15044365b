"""Connecting: the token is private, a cluster that is not there is said so, and Ray stays on this machine."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from cluster.connect import protect_token, token_path

ROOT = Path(__file__).parents[2]


def test_a_token_that_others_can_read_is_made_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    token = tmp_path / "token"
    token.write_text("secret")
    token.chmod(0o644)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(token))
    assert token_path() == token
    protect_token()
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    assert token.read_text() == "secret"


def test_a_token_that_is_not_there_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "none"))
    protect_token()
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_cluster_that_cannot_be_reached_is_a_sentence() -> None:
    program = """
from cluster.connect import connected
from tuner.errors import StudyError
try:
    with connected():
        pass
except StudyError as error:
    print("said:", error)
"""
    environment = {**os.environ, "RAY_ADDRESS": "127.0.0.1:1"}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, env=environment)
    assert "said: the Ray cluster at RAY_ADDRESS = '127.0.0.1:1' cannot be reached" in done.stdout, done.stderr
    assert "unset RAY_ADDRESS" in done.stdout


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="reads listeners from /proc, which only Linux has")
def test_every_listener_of_a_local_ray_is_on_the_loopback_interface() -> None:
    program = """
import os, psutil, ray
from cluster.connect import connected
with connected():
    family = [psutil.Process(), *psutil.Process().children(recursive=True)]
    for process in family:
        for each in process.net_connections("tcp"):
            if each.status == psutil.CONN_LISTEN:
                print("listens", each.laddr.ip)
"""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, env=environment)
    addresses = {line.split()[1] for line in done.stdout.splitlines() if line.startswith("listens")}
    assert addresses, done.stderr
    assert addresses <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}
