"""Keys and a limit, or development on this machine with neither."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from serve.desk import Desk
from serve.guard import Development
from serve.keys import KeyRing, create_key
from serve.meters import Meters
from serve.protection import protection
from serve.settings import ServeSettings
from tuner.errors import ConfigError


def test_development_has_neither(tmp_path: Path) -> None:
    settings = ServeSettings(keys=tmp_path / "none", development=True)
    assert protection(settings, Desk(), Meters("a"), "a#one") == (Development.MODE, None)
    with pytest.raises(ConfigError):
        protection(settings.model_copy(update={"host": "192.0.2.1"}), Desk(), Meters("a"), "a#one")


def test_keys_with_the_rate_of_the_settings(tmp_path: Path) -> None:
    settings = ServeSettings(keys=tmp_path / "keys.json", rate_per_minute=2)
    key, text = create_key(settings.keys, "asker", ["infer"], time.time())
    ring, limiter = protection(settings, Desk(), Meters("a"), "a#one")
    assert isinstance(ring, KeyRing)
    assert ring.find(text) == key
    assert limiter is not None

    async def waits() -> list[bool]:
        return [await limiter.admit(key) > 0 for _ in range(3)]

    assert asyncio.run(waits()) == [False, False, True]
