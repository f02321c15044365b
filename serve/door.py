"""The address that a server listens on, found free or refused with a sentence."""

from __future__ import annotations

import socket

from tuner.errors import ConfigError, Problem


def listening_at(host: str, port: int) -> socket.socket:
    """A socket that listens there. Raises ConfigError for an address that cannot be listened on."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        reason = f"it cannot be listened on: {error.strerror or error}"
        cure = "Choose another port, or end what uses it."
        raise ConfigError(Problem("address", f"{host}:{port}", reason, cure)) from error
