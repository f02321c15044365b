"""The parts that the serve benchmark's figures rest on: the load, the damages, the references, the watch on changes."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tests.benchmarks.serve import AT_LEAST, AT_MOST, verdicts
from tests.benchmarks.serve_adapters import BASE, CONFIG, DAMAGES, WEIGHTS, WIDE, Maker, damage
from tests.benchmarks.serve_bench import Figures
from tests.benchmarks.serve_check import TOLERANCE, References
from tests.benchmarks.serve_load import Answer, Load
from tests.benchmarks.serve_swaps import Swapped, Watch, named
from tuner.errors import StoreError
from tuner.registry import AdapterName, Origin, Registry, Version
from tuner.tasks.sentiment.predict import SentimentPredictor

# PEFT asks transformers for a name that it will drop
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
TEXTS = ['He said "good", naïvely.', "The sole came off.", "x" * 2000]
ADAPTERS = [f"a{number}" for number in range(8)]


@asynccontextmanager
async def echoing(drop_every: int = 0) -> AsyncIterator[int]:
    """The port of a server that answers with the request's own body, in two pieces; on every so many requests it hangs
    up instead."""
    count = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal count
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                fields = dict(line.split(b": ") for line in head.strip().split(b"\r\n")[1:])
                body = await reader.readexactly(int(fields[b"content-length"]))
                count += 1
                if drop_every and count % drop_every == 0:
                    return
                writer.write(b"HTTP/1.1 200 OK\r\nX-A: b\r\nContent-Length: %d\r\n\r\n" % len(body) + body[:3])
                await writer.drain()
                writer.write(body[3:])
        except asyncio.IncompleteReadError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


def loaded(count: int, *, drop_every: int = 0, seed: int = 0) -> list[Answer]:
    """What a load of `count` answers or a few more gets of such a server."""

    async def run() -> list[Answer]:
        async with echoing(drop_every) as port:
            load = Load(port, ADAPTERS, TEXTS, seed=seed)
            return await load.run(lambda: len(load.answers) < count)

    return asyncio.run(run())


def test_each_answer_is_that_of_its_own_request() -> None:
    answers = loaded(800)
    for answer in answers:
        assert json.loads(answer.body) == {"text": TEXTS[answer.text], "adapter": answer.adapter}
        assert answer.status == 200
        assert answer.seconds > 0
    assert 800 <= len(answers) < 800 + 16
    counts = Counter(answer.adapter for answer in answers)
    assert set(counts) == set(ADAPTERS)
    assert min(counts.values()) > 60  # 100 expected


def test_the_draws_depend_on_the_seed_alone() -> None:
    def drawn(seed: int) -> Counter[tuple[str, int]]:
        load = Load(0, ADAPTERS, TEXTS, seed=seed)
        load._go_on = lambda: True
        made = [load.next_request() for _ in range(200)]
        return Counter(each[:2] for each in made if each is not None)

    assert drawn(1) == drawn(1) != drawn(2)


def test_a_lost_connection_is_an_answer_without_status() -> None:
    answers = loaded(100, drop_every=10)
    lost = [answer for answer in answers if answer.status == 0]
    assert len(lost) >= 9
    assert Swapped(answers, []).errors == len(lost)


def test_a_server_that_goes_away_ends_the_load() -> None:
    async def run() -> None:
        answered = asyncio.Event()
        async with echoing(drop_every=5) as port:
            load = Load(port, ADAPTERS, TEXTS, clients=1, seen=lambda answer: answered.set())
            asking = asyncio.create_task(load.run(lambda: True))
            await answered.wait()
        await asking

    with pytest.raises(OSError, match="Connect call failed"):
        asyncio.run(run())


def test_each_adapter_can_be_asked_once() -> None:
    async def run() -> list[Answer]:
        async with echoing() as port:
            return await Load(port, ADAPTERS, TEXTS).run_each()

    assert sorted(answer.adapter for answer in asyncio.run(run())) == ADAPTERS


def promoted(folder: Path) -> tuple[Registry, Version]:
    """A registry with one version of toy files."""
    source = folder / "source"
    source.mkdir()
    save_file({"weight": torch.ones(64, 64)}, source / WEIGHTS)
    for name in (CONFIG, "tuner.json", "tokenizer.json"):
        (source / name).write_text(json.dumps({"r": 8, "lora_alpha": 16, "base_model": BASE}), encoding="utf-8")
    registry = Registry(folder / "registry")
    version = registry.promote(
        source, AdapterName("sentiment", "a"), origin=Origin(BASE), alias=None, check=lambda folder: None, by="test"
    )
    return registry, version


@pytest.mark.parametrize("number", range(len(DAMAGES)))
def test_every_damage_is_one(tmp_path: Path, number: int) -> None:
    registry, version = promoted(tmp_path)
    registry.verify(version)
    damage(registry.folder(version), number)
    with pytest.raises(StoreError):
        registry.verify(version)


def test_there_are_thirty_ways() -> None:
    assert len({words for words, _ in DAMAGES}) == 30


def answer(text: int, body: dict[str, object]) -> Answer:
    return Answer("a", text, 200, 0.01, json.dumps(body).encode(), 1.0)


def test_wrong_answers_are_found(tmp_path: Path) -> None:
    maker, registry = Maker(), Registry(tmp_path)
    references = References(BASE, TEXTS)
    versions = [maker.promote(registry, "a", 1), maker.promote(registry, "a", 2, params=WIDE)]
    given = []
    for version in versions:
        references.folders[named(version)] = registry.folder(version)
        for text, found in enumerate(SentimentPredictor(registry.folder(version)).predict(TEXTS)):
            about = {"label": found["label"], "probability": round(found["probability"], 6), "adapter": named(version)}
            given.append((text, about))
    right = references.judge([answer(*each) for each in given], {})
    assert (right.compared, right.wrong) == (6, 0)
    assert right.largest < 2e-6

    text, about = given[0]
    wrong = [
        {**about, "probability": about["probability"] - 2 * TOLERANCE},
        {**about, "label": 1 - about["label"]},
        {**about, "label": 1 - about["label"], "probability": 1 - about["probability"]},
        {**about, "adapter": named(versions[1])},
        {**about, "adapter": "a@000000000000"},
    ]
    assert references.judge([answer(text, each) for each in wrong], {}).wrong == len(wrong)


def test_a_change_is_seen_when_an_answer_names_it(tmp_path: Path) -> None:
    registry, version = promoted(tmp_path)

    async def run() -> float:
        watch = Watch()
        changing = asyncio.ensure_future(watch.change(registry, version))
        await asyncio.sleep(0)
        watch(answer(0, {"adapter": "a@000000000000"}))
        assert not changing.done()
        watch(Answer("a", 0, 200, 0.01, json.dumps({"adapter": named(version)}).encode(), 1e12))
        return await changing

    assert asyncio.run(run()) > 1e3
    assert registry.state().adapter(version.name).history


def test_figures_count_what_was_answered() -> None:
    answers = [Answer("a", 0, 200, 0.01 * number, b"", 10.0 + number) for number in range(1, 101)]
    figures = Figures.of(answers)
    assert figures.rate == pytest.approx(100 / (110 - 10.99))
    assert (figures.p50, figures.p99) == (pytest.approx(505), pytest.approx(1000))


def test_targets_hold_in_their_own_direction() -> None:
    good = {**AT_LEAST, **AT_MOST}
    assert all(line.endswith("met") for line in verdicts(good))
    bad = {name: value - 0.1 for name, value in AT_LEAST.items()} | {name: value + 1 for name, value in AT_MOST.items()}
    assert all(line.endswith("MISSED") for line in verdicts(bad))
