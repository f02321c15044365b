"""Development mode answers this machine, by its own name, and nobody else."""

from __future__ import annotations

import pytest

from serve.loopback import refuse_strangers, refuse_unless_loopback
from serve.problems import Refusal
from tuner.errors import ConfigError


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.1.2.3", "::1", "[::1]"])
def test_addresses_of_this_machine(host: str) -> None:
    refuse_unless_loopback(host)


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "", "192.168.1.5", "example.com", "localhost.example.com", "2130706433"]
)
def test_addresses_that_others_reach(host: str) -> None:
    with pytest.raises(ConfigError, match="others can reach it"):
        refuse_unless_loopback(host)


@pytest.mark.parametrize("client", ["127.0.0.1", "::1", "127.9.9.9", "::ffff:127.0.0.1"])
@pytest.mark.parametrize("host", [b"localhost", b"LocalHost:8000", b"127.0.0.1:8000", b"[::1]:8000", b"[::1]"])
def test_this_machine_is_answered(client: str, host: bytes) -> None:
    refuse_strangers((client, 5), {b"host": host})
    refuse_strangers((client, 5), {b"host": host, b"origin": b"http://" + host})


@pytest.mark.parametrize("client", [None, ("10.0.0.1", 5), ("::ffff:10.0.0.1", 5), ("", 0), ("localhost.evil", 5)])
def test_other_machines_are_not(client: object) -> None:
    with pytest.raises(Refusal) as caught:
        refuse_strangers(client, {b"host": b"localhost", b"x-forwarded-for": b"127.0.0.1"})
    assert caught.value.status == 403


@pytest.mark.parametrize(
    "host",
    [
        b"",
        b"evil.example",
        b"evil.example:8000",
        b"localhost.evil.example",
        b"localhost@evil.example",
        b"evil.example/@localhost",
        b"127.0.0.1.evil.example",
        b"localhost:99999",
        b"localhost:x",
        b"[::1",
        b"10.0.0.1",
        b"localhost/",
        b"\xff" * 300,
    ],
)
def test_a_name_that_was_rebound_is_not(host: bytes) -> None:
    for headers in ({b"host": host}, {b"host": b"localhost", b"origin": b"http://" + host}):
        with pytest.raises(Refusal) as caught:
            refuse_strangers(("127.0.0.1", 5), headers)
        assert caught.value.status == 403
        assert len(caught.value.message) < 180
    with pytest.raises(Refusal):
        refuse_strangers(("127.0.0.1", 5), {b"host": b"localhost", b"origin": b"null"})
