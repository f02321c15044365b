"""A server follows its registry: new versions are tried in shadow, bad ones refused, and nobody notices."""

from __future__ import annotations

import asyncio
import itertools
import random
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from serve import loader
from serve.errors import AdapterFailedError, TooSlowError, UnknownAdapterError
from serve.service import Service
from tests.serve import toy
from tests.serve.toy import Adapters, ask, called, point, promote, serving, until
from tuner.registry import Registry, Version

CHANGE = "import sys; from pathlib import Path; from tuner.registry import *; \
Registry(Path(sys.argv[1])).set_alias(AdapterName('sentiment', 'reviews'), 'champion', {sys.argv[2]: 1.0}, by='other')"


def test_a_change_by_another_process_is_seen(registry: Registry, adapters: Adapters) -> None:
    first = promote(registry, adapters.folders[0])
    second = promote(registry, adapters.folders[1], alias=None)

    async def main() -> None:
        async with serving(registry, adapters.base) as service:
            assert await ask(service) == (called(first), pytest.approx(adapters.reference[0][toy.TEXTS[0]], abs=1e-5))
            assert called(second) not in toy.resident(service)
            command = [sys.executable, "-c", CHANGE, str(registry.path), second.version]
            await asyncio.to_thread(subprocess.run, command, check=True)
            await toy.served_by(service, [second])
            assert await ask(service) == (called(second), pytest.approx(adapters.reference[1][toy.TEXTS[0]], abs=1e-5))

    asyncio.run(main())


def _flipped(folder: Path) -> None:
    weights = folder / "adapter_model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-5] ^= 1
    weights.write_bytes(data)


def _cut(folder: Path) -> None:
    weights = folder / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-8])


def _manifest(folder: Path) -> None:
    text = (folder / "manifest.json").read_text()
    (folder / "manifest.json").write_text(text.replace("adapter_model", "adapter_modem"))


DAMAGE: dict[str, Callable[[Path], object]] = {
    "a flipped byte": _flipped,
    "a truncated file": _cut,
    "a missing file": lambda folder: (folder / "tuner.json").unlink(),
    "another manifest": _manifest,
    "no folder": shutil.rmtree,
    "one file more": lambda folder: (folder / "more.json").write_text("{}"),
}


async def _refused(service: Service, bad: Version, stays: Version) -> str:
    """Why a version is refused; the alias serves what it served."""
    why: list[str] = []

    def so() -> bool:
        why[:] = [each.refused for each in service.runtime.adapters() if each.version == bad.version and each.refused]
        return bool(why)

    await until(so)
    assert (await ask(service, "reviews"))[0] == called(stays)
    assert called(bad) not in toy.resident(service)
    assert toy.users(service) == {}
    shown = {each.version: each for each in service.runtime.adapters()}
    assert shown[stays.version].aliases == ("champion",)
    assert shown[bad.version].aliases == ()
    assert service.runtime.trouble == ""
    with pytest.raises(AdapterFailedError) as caught:
        await ask(service, called(bad))
    assert str(registry_of(service)) not in str(caught.value)  # a client learns nothing of the disk
    return why[0]


def registry_of(service: Service) -> Path:
    return service.runtime.hub._registry.path


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_version_is_refused_and_a_later_one_heals(
    registry: Registry, adapters: Adapters, damage: str
) -> None:
    good = promote(registry, adapters.folders[0])
    bad = promote(registry, adapters.folders[1], alias=None)
    later = promote(registry, adapters.folders[2], alias=None)
    DAMAGE[damage](toy.writable(registry.folder(bad)))

    async def main() -> None:
        async with serving(registry, adapters.base) as service:
            point(registry, bad)
            assert "damaged" in await _refused(service, bad, good)
            assert b'serve_swaps_total{app="sentiment",result="refused"} 1.0' in service._meters.exposition()
            point(registry, later)
            await toy.served_by(service, [later])
            assert (await ask(service))[0] == called(later)
            assert not any(each.refused for each in service.runtime.adapters())

    asyncio.run(main())


def _nan(tensors: dict[str, torch.Tensor]) -> None:
    next(iter(tensors.values()))[0] = float("nan")


def _huge(tensors: dict[str, torch.Tensor]) -> None:
    for value in tensors.values():
        value.fill_(3e38)  # finite, and of no use: every product overflows


def test_a_version_that_is_whole_but_useless(
    registry: Registry, adapters: Adapters, toy_bases: dict[str, Path], tmp_path: Path
) -> None:
    good = promote(registry, adapters.folders[0])
    source = adapters.folders[1]
    foreign = toy.make(toy_bases["roberta"], tmp_path / "foreign", count=1)[0]
    bad = {
        "not finite": promote(registry, toy.changed(source, tmp_path / "nan", _nan), alias=None),
        "canary failed": promote(registry, toy.changed(source, tmp_path / "huge", _huge), alias=None),
        "of the base": promote(registry, foreign, alias=None),
    }

    async def main() -> None:
        async with serving(registry, adapters.base) as service:
            for words, version in bad.items():
                point(registry, version)
                assert words in await _refused(service, version, good)
                assert toy.resident(service) == {called(good)}

    asyncio.run(main())


def test_a_mended_version_is_tried_again(
    registry: Registry, adapters: Adapters, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loader, "AGAIN_S", 0.1)
    good = promote(registry, adapters.folders[0])
    bad = promote(registry, adapters.folders[1], alias=None)
    _flipped(toy.writable(registry.folder(bad)))

    async def main() -> None:
        async with serving(registry, adapters.base) as service:
            point(registry, bad)
            await _refused(service, bad, good)
            promote(registry, adapters.folders[1], alias=None)  # mends the files; the state stays as it is
            await toy.served_by(service, [bad])
            assert (await ask(service))[0] == called(bad)

    asyncio.run(main())


def test_a_server_starts_beside_a_damaged_champion(registry: Registry, adapters: Adapters) -> None:
    bad = promote(registry, adapters.folders[0], "first")
    other = promote(registry, adapters.folders[1], "second")
    _flipped(toy.writable(registry.folder(bad)))

    async def main() -> None:
        async with serving(registry, adapters.base) as service:
            assert service.runtime.trouble == ""
            assert (await ask(service, "second"))[0] == called(other)
            with pytest.raises(AdapterFailedError, match="first@champion was refused"):
                await ask(service)  # the default is still the first name: nobody is answered by another unasked

    asyncio.run(main())


def test_quick_changes_under_requests(registry: Registry, adapters: Adapters) -> None:
    versions = [promote(registry, folder) for folder in adapters.folders]
    known = {called(version): reference for version, reference in zip(versions, adapters.reference, strict=True)}

    async def main() -> None:
        async with serving(registry, adapters.base) as service:
            stop = asyncio.Event()
            seen: Counter[str] = Counter()

            async def client(number: int) -> None:
                texts = itertools.cycle(toy.TEXTS[number:] + toy.TEXTS[:number])
                while not stop.is_set():
                    text = next(texts)
                    name, probability = await ask(service, "reviews", text)
                    assert probability == pytest.approx(known[name][text], abs=1e-5)
                    seen[name] += 1

            def change() -> None:
                for number in range(100):
                    point(registry, versions[number % len(versions)])

            clients = [asyncio.create_task(client(number)) for number in range(8)]
            await asyncio.to_thread(change)
            await toy.served_by(service, [versions[99 % len(versions)]])
            stop.set()
            await asyncio.gather(*clients)
            assert len(seen) > 1

    asyncio.run(main())


def test_two_of_six_fit(registry: Registry, adapters: Adapters) -> None:
    """Adapters go and come back under load; who finds no row waits for one."""
    versions = [promote(registry, folder, f"a{number}") for number, folder in enumerate(adapters.folders)]

    async def main() -> None:
        async with serving(registry, adapters.base) as service:
            table = service.runtime.base.table
            toy.room_for(service, 2)
            draw = random.Random(0)
            wanted = [(draw.randrange(6), draw.choice(toy.TEXTS)) for _ in range(300)]

            async def one(number: int, text: str) -> None:
                name, probability = await ask(service, f"a{number}", text)
                assert name == called(versions[number])
                assert probability == pytest.approx(adapters.reference[number][text], abs=1e-5)
                assert len(table) <= 2

            for at in range(0, len(wanted), 30):
                await asyncio.gather(*(one(*each) for each in wanted[at : at + 30]))

    asyncio.run(main())


def test_an_adapter_in_use_leaves_for_one_that_waits(registry: Registry, adapters: Adapters) -> None:
    """One row, whose adapter is asked again and again: another one gets its turn, and the first comes back."""
    versions = [promote(registry, folder, f"a{number}") for number, folder in enumerate(adapters.folders[:2])]

    async def main() -> None:
        async with serving(registry, adapters.base) as service:
            hub = service.runtime.hub
            toy.room_for(service, 1)
            held = await hub.take("a0")
            waiting = asyncio.create_task(hub.take("a1"))
            await until(lambda: hub._loader._leaving)
            late = asyncio.create_task(hub.take("a0"))  # behind it in line, though its adapter is resident
            given_up = asyncio.create_task(hub.take("a0"))
            await asyncio.sleep(0)
            given_up.cancel()
            assert not late.done()
            hub.release(held)
            second = await waiting
            assert second.name == called(versions[1])
            assert toy.resident(service) == {called(versions[1])}
            assert not late.done()
            hub.release(second)
            third = await late
            assert third.name == called(versions[0])
            hub.release(third)

    asyncio.run(main())


def test_a_request_that_finds_no_room_in_time(registry: Registry, adapters: Adapters) -> None:
    for number, folder in enumerate(adapters.folders[:2]):
        promote(registry, folder, f"a{number}")

    async def main() -> None:
        async with serving(registry, adapters.base, timeout_s=0.2) as service:
            hub = service.runtime.hub
            toy.room_for(service, 1)
            held = await hub.take("a0")
            with pytest.raises(TooSlowError):
                await ask(service, "a1")
            hub.release(held)
            await ask(service, "a1")

    asyncio.run(main())


def test_splits_follow_their_weights(registry: Registry, adapters: Adapters) -> None:
    one, two = (promote(registry, folder) for folder in adapters.folders[:2])
    registry.set_alias(one.name, "champion", {one.version: 3.0, two.version: 1.0}, by=toy.BY)

    async def main() -> None:
        async with serving(registry, adapters.base) as service:
            random.seed(3)
            hub = service.runtime.hub
            names: Counter[str] = Counter()
            for _ in range(2000):
                chosen = await hub.take("reviews")
                names[chosen.name] += 1
                hub.release(chosen)
            # 1500 are expected, and 19 are one standard deviation
            assert 1400 < names[called(one)] < 1600
            assert names.total() == names[called(one)] + names[called(two)]

    asyncio.run(main())


def test_references(registry: Registry, adapters: Adapters) -> None:
    old = promote(registry, adapters.folders[0], "re-views.2_b")
    new = promote(registry, adapters.folders[1], "re-views.2_b")
    other = promote(registry, adapters.folders[2], "other", alias="next")

    async def main() -> None:
        async with serving(registry, adapters.base) as service:
            assert (await ask(service, "re-views.2_b"))[0] == called(new)
            assert (await ask(service, "re-views.2_b@champion"))[0] == called(new)
            assert (await ask(service, called(old)))[0] == called(old)
            assert (await ask(service, "other@next"))[0] == called(other)
            unknown = ["other", "nobody", "other@champion", "re-views.2_b@0123456789ab", f"other@{old.version}"]
            for reference in [*unknown, "../x", "a@b@c", "A", "a b", "a/b", "sentiment/other", "@", "é", "x" * 200]:
                with pytest.raises(UnknownAdapterError) as caught:
                    await ask(service, reference)
                assert "Known: " in str(caught.value) or "none yet" in str(caught.value)
                assert len(str(caught.value)) < 300
            with pytest.raises(UnknownAdapterError, match="no adapter to answer with"):
                await ask(service, "")  # this base has no head of its own

    asyncio.run(main())


def test_the_default_is_the_oldest_name_with_a_champion(registry: Registry, adapters: Adapters) -> None:
    promote(registry, adapters.folders[0], "a", alias="other")
    first = promote(registry, adapters.folders[1], "z")
    second = promote(registry, adapters.folders[2], "b")

    async def main() -> None:
        async with serving(registry, adapters.base) as service:
            assert (await ask(service))[0] == called(first)
            newer = promote(registry, adapters.folders[3], "z")
            await toy.served_by(service, [newer], "z")
            registry.delete(first.name, first.version, by=toy.BY)  # which must not make z younger than b
            await until(lambda: called(first) not in toy.resident(service))
            assert (await ask(service))[0] == called(newer)
            registry.remove_alias(first.name, "champion", by=toy.BY)
            await until(lambda: "z@champion" not in service.runtime.hub.served)
            assert (await ask(service))[0] == called(second)
            with pytest.raises(UnknownAdapterError, match="no such version"):
                await ask(service, called(first))

    asyncio.run(main())


def test_a_registry_that_appears_is_damaged_and_goes(
    registry: Registry, adapters: Adapters, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with serving(registry, adapters.base) as service:
            assert service.runtime.trouble == ""  # none yet is no trouble
            assert service.runtime.adapters() == []
            with pytest.raises(UnknownAdapterError, match="tuner promote"):
                await ask(service)
            first = promote(registry, adapters.folders[0])
            await toy.served_by(service, [first])
            state = registry.path / "state.json"
            whole = state.read_bytes()
            for damage in (lambda: state.write_bytes(whole[:40]), state.unlink):
                caplog.clear()
                damage()
                await until(lambda: "cannot be read" in caplog.text)
                await service.runtime.hub.look()
                assert (await ask(service))[0] == called(first)
                assert caplog.text.count("cannot be read") == 1
                assert service.runtime.trouble == ""
            state.write_bytes(whole)
            second = promote(registry, adapters.folders[1])
            await toy.served_by(service, [second])

    asyncio.run(main())


def test_trouble_where_the_registry_was_never_readable(registry: Registry, adapters: Adapters) -> None:
    registry.path.mkdir()
    (registry.path / "state.json").write_text("{")

    async def main() -> None:
        async with serving(registry, adapters.base) as service:
            assert "registry cannot be read" in service.runtime.trouble
            assert str(registry.path) not in service.runtime.trouble

    asyncio.run(main())


def test_a_new_replica_serves_what_a_refused_alias_pointed_to_before(registry: Registry, adapters: Adapters) -> None:
    first = promote(registry, adapters.folders[0])
    second = promote(registry, adapters.folders[1])
    next(toy.writable(registry.folder(second)).glob("*.safetensors")).write_bytes(b"damaged")

    async def main() -> None:
        async with serving(registry, adapters.base) as service:
            hub = service.runtime.hub
            chosen = await hub.take("reviews")
            hub.release(chosen)
            assert chosen.name == called(first)
            (refused,) = [each for each in hub.shown() if each.version == second.version]
            assert refused.refused

    asyncio.run(main())
