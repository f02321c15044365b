"""A version on trial that fares badly is taken back, in the registry, once, with the reason."""

from __future__ import annotations

import asyncio
import random

import pytest

from serve.audit import FILE, verify
from serve.hub import Chosen, Hub
from serve.service import Service
from tests.serve import toy
from tests.serve.toy import Adapters, ask, called, promote, serving, until
from tuner.registry import Alias, Limits, Registry, Version


def split(registry: Registry, versions: list[Version], **limits: float) -> None:
    """Let the champion be all of these in equal parts."""
    registry.set_alias(
        versions[0].name,
        "champion",
        {version.version: 1.0 for version in versions},
        limits=Limits(**{"requests": 5, **limits}),  # type: ignore[arg-type]
        by=toy.BY,
    )


def champion(registry: Registry) -> Alias:
    found = registry.state().adapter(toy.name_of()).alias("champion")
    assert found is not None
    return found


def ordered(versions: list[Version]) -> tuple[Version, Version]:
    """The one that stands, and the one on trial."""
    first, second = sorted(versions, key=lambda version: version.version)
    return first, second


async def chosen(hub: Hub, version: Version) -> Chosen:
    """Ask the champion until a version is drawn."""
    while True:
        found = await hub.take("reviews")
        hub.release(found)
        if found.name == called(version):
            return found


@pytest.mark.parametrize(
    ("limits", "good", "bad", "why"),
    [
        ({"max_errors": 0.1}, 0.1, None, "100.0% of its last 5 requests failed"),
        ({"max_latency_ms": 200}, 0.1, 0.3, "300 ms on average"),
        ({"max_latency_ratio": 2}, 0.1, 0.3, "over 2 times"),
    ],
)
def test_a_bad_version_goes_back(
    registry: Registry,
    adapters: Adapters,
    limits: dict[str, float],
    good: float,
    bad: float | None,
    why: str,
) -> None:
    first, second = ordered([promote(registry, folder) for folder in adapters.folders[:2]])
    split(registry, [first, second], **limits)

    async def main() -> None:
        async with serving(registry, adapters.base) as service:
            hub = service.runtime.hub
            one, two = await chosen(hub, first), await chosen(hub, second)
            for _ in range(50):  # ten times what it takes
                hub.observe(one, good, failed=False)
                hub.observe(two, bad or 0.0, failed=bad is None)
            await toy.served_by(service, [first])
            stands = champion(registry)
            assert why in stands.why
            assert second.version in stands.why
            assert stands.by == "server:sentiment"
            changes = registry.state().adapter(toy.name_of()).history["champion"]
            assert len(changes) == 4  # two promotions, the split, and one return
            assert b'result="returned"} 1.0' in service._meters.exposition()
            await until(lambda: (registry.path / FILE).exists())
            (note,) = verify(registry.path / FILE).entries
            assert (note.who, note.action) == ("server:sentiment", "take back")
            assert note.target == f"sentiment/reviews@champion: {second.version}"
            assert note.outcome.startswith("done: ")
            assert why in note.outcome
            assert {(await ask(service, "reviews"))[0] for _ in range(20)} == {called(first)}

    asyncio.run(main())


def test_a_bad_version_goes_back_though_it_cannot_be_noted(registry: Registry, adapters: Adapters) -> None:
    first, second = ordered([promote(registry, folder) for folder in adapters.folders[:2]])
    split(registry, [first, second], max_errors=0.1)
    (registry.path / FILE).write_text("{}\n")

    async def main() -> None:
        async with serving(registry, adapters.base) as service:
            bad = await chosen(service.runtime.hub, second)
            for _ in range(5):
                service.runtime.hub.observe(bad, 0.0, failed=True)
            await toy.served_by(service, [first])

    asyncio.run(main())
    assert (registry.path / FILE).read_text() == "{}\n"


def test_of_three_the_bad_one_goes(registry: Registry, adapters: Adapters) -> None:
    versions = sorted((promote(registry, folder) for folder in adapters.folders[:3]), key=lambda each: each.version)
    split(registry, versions, max_errors=0.1)

    async def main() -> None:
        async with serving(registry, adapters.base) as service:
            hub = service.runtime.hub
            bad = await chosen(hub, versions[1])
            for _ in range(5):
                hub.observe(bad, 0.0, failed=True)
            await toy.served_by(service, [versions[0], versions[2]])
            assert champion(registry).target.limits is not None  # the last one is on trial still
            third = await chosen(hub, versions[2])
            for _ in range(5):
                hub.observe(third, 0.0, failed=True)
            await toy.served_by(service, [versions[0]])

    asyncio.run(main())


def test_an_alias_that_has_moved_on_stays(registry: Registry, adapters: Adapters) -> None:
    first, second = ordered([promote(registry, folder) for folder in adapters.folders[:2]])
    later = promote(registry, adapters.folders[2], alias=None)
    split(registry, [first, second], max_errors=0.1)

    async def main() -> None:
        async with serving(registry, adapters.base) as service:
            hub = service.runtime.hub
            bad = await chosen(hub, second)
            toy.point(registry, later)  # which the server has not seen when the last failure comes
            for _ in range(5):
                hub.observe(bad, 0.0, failed=True)
            await toy.served_by(service, [later])
            await until(lambda: b'result="returned"} 1.0' in service._meters.exposition())
            assert champion(registry).target.versions == {later.version}

    asyncio.run(main())


async def _asked_until(service: Service, version: Version) -> None:
    """Ask until only this version serves, whatever the others do."""
    while {share.version for share in service.runtime.hub.served["reviews@champion"].split} != {version.version}:
        await asyncio.gather(*(ask(service, "reviews") for _ in range(5)), return_exceptions=True)
        await asyncio.sleep(0)


def test_a_version_that_cannot_come_back_from_disk_fails_its_trial(registry: Registry, adapters: Adapters) -> None:
    first, second = ordered([promote(registry, folder) for folder in adapters.folders[:2]])
    split(registry, [first, second], max_errors=0.1)

    async def main() -> None:
        random.seed(5)
        async with serving(registry, adapters.base) as service:
            toy.room_for(service, 1)
            (toy.writable(registry.folder(second)) / "tuner.json").unlink()
            await _asked_until(service, first)
            assert "requests failed" in champion(registry).why

    asyncio.run(main())
