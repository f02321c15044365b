"""The device engine: who asks at once is trained at once, calls are answered meanwhile, closing wakes who waits."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.engine.test_isolation import Wrapped
from tests.engine.test_usage import MEASURED
from tests.engine.toy import make_config, make_engine, make_spec
from tuner import tasks
from tuner.engine.contract import EngineSettings, Report
from tuner.engine.trainer import DeviceEngine
from tuner.errors import BaseModelError, DeviceError, EngineError, StoreError
from tuner.tasks.task import Prepared

Maker = Callable[..., DeviceEngine]
CLOCKS = {"train_seconds", "tokens_per_second", "samples_per_second"} | MEASURED


@pytest.fixture
def make(toy_bases: dict[str, Path]) -> Iterator[Maker]:
    """Engines on the toy BERT that are closed in the end."""
    made: list[DeviceEngine] = []

    def maker(**options: Any) -> DeviceEngine:
        made.append(make_engine(toy_bases["bert"], **options))
        return made[-1]

    yield maker
    for engine in made:
        engine.close()


class Gate:
    """Holds the training thread before each step until it is opened."""

    def __init__(self, engine: DeviceEngine) -> None:
        self.reached, self.opened = threading.Event(), threading.Event()
        self.task = engine._packing.task = Wrapped(engine._packing.task, self._hold)

    def _hold(self, what: str, *_: Any) -> None:
        self.reached.set()
        assert self.opened.wait(60)


def waiting(engine: DeviceEngine, count: int) -> bool:
    """Wait until so many callers stand in `advance`."""
    tick = threading.Event()
    return any(len(engine._asked) == count or tick.wait(0.005) for _ in range(10_000))


def test_who_asks_at_once_is_trained_at_once(make: Maker) -> None:
    engine = make()
    for letter in "abcd":
        engine.start(make_spec(letter, batch_size=20))
    gate = Gate(engine)
    with ThreadPoolExecutor(4) as callers:
        first = callers.submit(engine.advance, "a")
        assert gate.reached.wait(60)
        others = [callers.submit(engine.advance, letter) for letter in "bcd"]
        assert waiting(engine, 4)
        gate.opened.set()
        reports = [future.result(60) for future in [first, *others]]
    assert [report.trial_id for report in reports] == list("abcd")
    assert all(report.samples == 20 and report.status == "ok" for report in reports)
    # "a" was alone when it was asked; the three who came meanwhile are one forward and one evaluation
    assert gate.task.seen == [("losses", 1), ("evaluate", 1), ("losses", 3), ("evaluate", 3)]


def test_load_and_info_answer_while_it_trains(make: Maker) -> None:
    engine = make()
    engine.start(make_spec())
    assert (engine.load().trials, engine.load().samples_left) == (1, 80)
    gate = Gate(engine)
    with ThreadPoolExecutor(1) as callers:
        future = callers.submit(engine.advance, "a")
        assert gate.reached.wait(60)
        assert engine.load().trials == 1
        assert engine.info().train_rows == 40
        assert not future.done()
        gate.opened.set()
        assert future.result(60).index == 0
    load = engine.load()
    assert load.samples_left == 56
    assert load.samples_per_second > 0


def test_closing_wakes_who_waits(make: Maker) -> None:
    engine = make()
    for letter in "ab":
        engine.start(make_spec(letter))
    gate = Gate(engine)
    with ThreadPoolExecutor(4) as callers:
        futures = [callers.submit(engine.advance, letter) for letter in "ab"]
        assert gate.reached.wait(60)
        assert waiting(engine, 2)
        futures.append(callers.submit(engine.checkpoint, "a"))
        closing = callers.submit(engine.close)
        while not engine._closed:
            threading.Event().wait(0.005)
        gate.opened.set()
        closing.result(60)
        for future in futures:
            with pytest.raises(EngineError, match="closed"):
                future.result(60)
    with pytest.raises(EngineError, match="closed"):
        engine.advance("a")
    engine.close()  # again is no error


def test_closing_does_not_wait_for_a_whole_lockstep(make: Maker) -> None:
    engine = make()
    engine.start(make_spec(batch_size=1))
    gate = Gate(engine)
    with ThreadPoolExecutor(2) as callers:
        future = callers.submit(engine.advance_all, ["a"])
        assert gate.reached.wait(60)
        closing = callers.submit(engine.close)
        while not engine._closed:
            threading.Event().wait(0.005)
        gate.opened.set()
        closing.result(60)
        with pytest.raises(EngineError, match="closed"):
            future.result(60)
    assert len(gate.task.seen) == 1


def test_unknown_trials_and_two_who_advance_one(make: Maker) -> None:
    engine = make()
    with pytest.raises(EngineError, match="does not hold trial nobody"):
        engine.advance("nobody")
    engine.start(make_spec())
    with pytest.raises(EngineError, match="nobody"):
        engine.advance_all(["a", "nobody"])
    gate = Gate(engine)
    with ThreadPoolExecutor(1) as callers:
        future = callers.submit(engine.advance, "a")
        assert gate.reached.wait(60)
        with pytest.raises(EngineError, match="already"):
            engine.advance("a")
        gate.opened.set()
        assert future.result(60).status == "ok"


def test_a_trial_that_is_stopped_while_it_trains_wakes_its_caller(make: Maker) -> None:
    engine = make()
    engine.start(make_spec(batch_size=1))
    gate = Gate(engine)
    with ThreadPoolExecutor(2) as callers:
        future = callers.submit(engine.advance, "a")
        assert gate.reached.wait(60)
        stopping = callers.submit(engine.stop, "a")
        while not engine._calls:
            threading.Event().wait(0.005)
        gate.opened.set()
        stopping.result(60)
        with pytest.raises(EngineError, match="does not hold trial a"):
            future.result(60)
    assert engine.load().trials == 0


def test_an_engine_that_breaks_tells_all_who_wait(make: Maker) -> None:
    engine = make()
    engine.start(make_spec())
    engine._packing.advance = None  # type: ignore[assignment, method-assign]
    with pytest.raises(EngineError, match=r"broke: TypeError"):
        engine.advance("a")
    engine._thread.join(60)
    with pytest.raises(EngineError, match="closed"):
        engine.advance("a")


def test_the_same_calls_give_the_same_reports(make: Maker) -> None:
    def run() -> list[Report]:
        engine = make(max_pack=3)
        for number, letter in enumerate("abc"):
            engine.start(make_spec(letter, seed=number, rank=number + 1, batch_size=4 + number, dropout=0.1))
        return [report for _ in range(4) for report in engine.advance_all("abc")]

    one, other = run(), run()
    assert len(one) == 12
    for left, right in zip(one, other, strict=True):
        assert (left.trial_id, left.index, left.samples, left.done) == (
            right.trial_id,
            right.index,
            right.samples,
            right.done,
        )
        assert {k: v for k, v in left.metrics.items() if k not in CLOCKS} == {
            k: v for k, v in right.metrics.items() if k not in CLOCKS
        }
    assert len({report.metrics["score"] for report in one if report.index == 0}) == 3


def test_export_has_the_best_or_the_last(make: Maker) -> None:
    engine = make()
    engine.start(make_spec(learning_rate=0.05, epochs=10))
    scores = [engine.advance("a").metrics["score"] for _ in range(20)]
    assert max(scores) > scores[-1]
    best, last = engine.export("a"), engine.export("a", "last")
    assert best.keys() == last.keys()
    assert {"adapter_config.json", "adapter_model.safetensors", "tokenizer.json", "tuner.json"} <= best.keys()
    assert best["adapter_model.safetensors"] != last["adapter_model.safetensors"]
    assert best["adapter_config.json"] == last["adapter_config.json"]
    assert json.loads(best["adapter_config.json"])["r"] == 4


def test_info_says_where_and_why(make: Maker) -> None:
    info = make(max_pack=3).info()
    assert (info.device, info.dtype, info.max_pack, info.train_rows) == ("cpu", "fp32", 3, 40)
    assert info.base_memory_mb > 0
    assert info.notes == ("the config asks for it",)


def test_a_bad_checkpoint_leaves_the_engine_alive(make: Maker) -> None:
    engine = make()
    with pytest.raises(StoreError):
        engine.start(make_spec(), b"not a checkpoint")
    engine.start(make_spec())
    assert engine.advance("a").status == "ok"


def test_what_stops_it_from_coming_up_is_raised_by_the_constructor(toy_bases: dict[str, Path], tmp_path: Path) -> None:
    options = {"prepared": Prepared(None, {})}
    with pytest.raises(BaseModelError):
        DeviceEngine(EngineSettings(make_config(tmp_path / "nowhere" / "base"), "cpu", options=options))
    with pytest.raises(DeviceError):
        DeviceEngine(EngineSettings(make_config(toy_bases["bert"]), "cuda:77", options=options))


def test_it_reads_the_data_itself_when_nobody_did(toy_bases: dict[str, Path], tmp_path: Path) -> None:
    from tests.engine.toy import make_splits, write_data

    config = make_config(toy_bases["albert"], write_data(tmp_path, make_splits()))
    engine = DeviceEngine(EngineSettings(config, "cpu", max_pack=2))
    try:
        assert engine.info().train_rows == 40
        assert tasks.spec("sentiment").quality in _first_metrics(engine)
    finally:
        engine.close()


def _first_metrics(engine: DeviceEngine) -> dict[str, float]:
    engine.start(make_spec())
    return dict(engine.advance("a").metrics)
