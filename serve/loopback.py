"""Development mode: no keys, and nobody but this machine.

Three doors are shut: a bind address that others can reach, a client that is not on this machine, and a browser here
that a foreign page steers, by a name that it rebinds to 127.0.0.1 or by a request to another origin.

Behind a proxy on the same machine every client seems to be this machine: never put one before development mode.
X-Forwarded-For is not believed: under Ray Serve it can make a client seem farther away, never nearer.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

from serve.problems import Refusal, quoted
from tuner.errors import ConfigError, Problem

_NAMES = ("localhost", "127.0.0.1", "::1")


def refuse_unless_loopback(host: str) -> None:
    """Raises ConfigError for a bind address that machines other than this one can reach."""
    name = host.removeprefix("[").removesuffix("]")
    if name != "localhost" and not _is_loopback(name):
        cure = "Bind to 127.0.0.1, or make a key with `tuner keys create NAME` and leave development mode."
        raise ConfigError(Problem("host", host, "others can reach it, and development mode asks for no key", cure))


def refuse_strangers(client: Any, headers: Mapping[bytes, bytes]) -> None:
    """Raises Refusal (403) for a request that is not from this machine, by its ASGI `client`, or that names another
    host or origin."""
    if not client or not _is_loopback(client[0]):
        raise Refusal(403, "this server is in development mode and answers its own machine only.", "not_loopback")
    host = headers.get(b"host", b"").decode("latin-1")
    if not _is_local_authority(host):
        raise Refusal(
            403, f"this server is in development mode and is called localhost, not {quoted(host)}.", "not_loopback"
        )
    origin = headers.get(b"origin")
    if origin is not None and not _is_local_origin(origin.decode("latin-1")):
        raise Refusal(403, "this server is in development mode and answers no page of another site.", "foreign_origin")


@lru_cache(1024)
def _is_loopback(address: str) -> bool:
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    return (getattr(found, "ipv4_mapped", None) or found).is_loopback


@lru_cache(1024)
def _is_local_authority(text: str) -> bool:
    try:
        parts = urlsplit(f"//{text}")
        return parts.netloc == text and "@" not in text and parts.hostname in _NAMES and parts.port != 0
    except ValueError:
        return False


@lru_cache(1024)
def _is_local_origin(text: str) -> bool:
    scheme, _, authority = text.partition("://")
    return scheme in ("http", "https") and _is_local_authority(authority)
