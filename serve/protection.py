"""Who may ask, by the settings: API keys with their rates, or development mode with neither."""

from __future__ import annotations

from serve.guard import Development
from serve.keys import KeyRing
from serve.loopback import refuse_unless_loopback
from serve.meters import Meters
from serve.rates import DeskLike, Limiter
from serve.settings import ServeSettings


def protection(
    settings: ServeSettings, desk: DeskLike, meters: Meters, replica: str
) -> tuple[KeyRing | Development, Limiter | None]:
    """What a guard asks of: keys and a limiter. Raises ConfigError for development on an address that others reach,
    StoreError for a file of keys that cannot be used."""
    if settings.development:
        refuse_unless_loopback(settings.host)
        return Development.MODE, None
    limiter = Limiter(desk, replica, settings.rate_per_minute, meters.desk_failed)
    return KeyRing(settings.keys), limiter
