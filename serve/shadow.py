"""Shadow traffic: what another version would have answered, compared and logged, never shown.

A shadow answers after the one that was asked, and only while at least half of the line is free: it must not cost those
who wait. Pictures are compared by their pixels, all else by what it says.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import logging
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from serve.errors import QueueFullError
from tuner.errors import TunerError

if TYPE_CHECKING:
    from serve.hub import Chosen, Hub
    from tuner.tasks.served import Job

log = logging.getLogger("serve.shadow")

Begun = tuple[list["Job"], list["asyncio.Future[Any]"]]
"""What asks in line are: their jobs, and what each will end with."""
Begin = Callable[["Chosen", Sequence[Any]], Begun]


class Shadow:
    """Sends what was asked to an alias's shadow too. `begin` puts asks in line (see `Runtime.begin`)."""

    def __init__(self, hub: Hub, begin: Begin) -> None:
        self._hub, self._begin = hub, begin
        self._under_way: set[asyncio.Task[None]] = set()

    def compare(self, chosen: Chosen, ask: Any, value: Any, seconds: float, *, calm: bool) -> None:
        """Ask the shadow of `chosen` the same, without waiting for it; not at all unless it is calm."""
        if not calm:
            self._hub.meters.shadow("skipped")
            return
        task = asyncio.get_running_loop().create_task(self._compare(chosen, ask, value, seconds))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def _compare(self, chosen: Chosen, ask: Any, value: Any, seconds: float) -> None:
        started = time.perf_counter()
        try:
            other = await self._hub.take(chosen.shadow)
            _, (done,) = self._begin(other, (ask,))
            answer = await done
            if isinstance(answer, Exception):
                raise answer
        except QueueFullError:
            self._hub.meters.shadow("skipped")
            return
        except Exception as error:
            # a shadow that fails is what is to be learnt here; its text may hold the request, so its kind is logged
            kind = str(error) if isinstance(error, TunerError) else type(error).__name__
            self._hub.meters.shadow("failed")
            log.warning(json.dumps({"adapter": chosen.name, "shadow": chosen.shadow, "failed": kind}))
            return
        found = difference(value, answer)
        self._hub.meters.shadow("same" if found["same"] else "different")
        times = {"ms": round(seconds * 1e3, 1), "shadow_ms": round((time.perf_counter() - started) * 1e3, 1)}
        log.info(json.dumps({"adapter": chosen.name, "shadow": other.name, **found, **times}))


def difference(answer: Any, shadow: Any) -> dict[str, Any]:
    """Whether two answers of one task are the same, and by how much their numbers differ at most. Numbers alone do not
    make answers different: two adapters are never sure to the same degree."""
    ours, theirs = _plain(answer), _plain(shadow)
    if hasattr(ours, "shape"):
        return {"same": ours.shape == theirs.shape and bool((ours == theirs).all())}
    if not isinstance(ours, dict):
        return {"same": ours == theirs}
    words = [name for name, value in ours.items() if not isinstance(value, float)]
    numbers = [name for name, value in ours.items() if isinstance(value, float) and isinstance(theirs[name], float)]
    found: dict[str, Any] = {"same": all(_alike(ours[name], theirs.get(name)) for name in words)}
    if numbers:
        found["most"] = round(max(abs(ours[name] - theirs[name]) for name in numbers), 6)
    return found


def _alike(ours: Any, theirs: Any) -> bool:
    if hasattr(ours, "shape"):
        return bool(ours.shape == getattr(theirs, "shape", None) and (ours == theirs).all())
    return bool(ours == theirs)


def _plain(answer: Any) -> Any:
    if dataclasses.is_dataclass(answer) and not isinstance(answer, type):
        return {each.name: getattr(answer, each.name) for each in dataclasses.fields(answer)}
    return answer
