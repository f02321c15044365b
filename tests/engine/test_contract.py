"""One suite for every implementation of the engine's contract: the real one on a toy base, one that trains nothing."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from tests.engine.null_engine import NullEngine
from tests.engine.toy import make_config, make_engine, make_spec
from tuner.engine.contract import Engine, EngineSettings, Report, TrialSpec
from tuner.errors import EngineError

Maker = Callable[[], Engine]


@pytest.fixture(params=["device", "null"])
def make(request: pytest.FixtureRequest, toy_bases: dict[str, Path]) -> Iterator[Maker]:
    """Fresh engines of one kind, with two reports an epoch, that are closed in the end."""
    made: list[Engine] = []

    def maker() -> Engine:
        if request.param == "device":
            made.append(make_engine(toy_bases["distilbert"], max_pack=4))
        else:
            made.append(NullEngine(EngineSettings(make_config(toy_bases["bert"]), "cpu", max_pack=4)))
        return made[-1]

    yield maker
    for engine in made:
        engine.close()


def until_done(engine: Engine, trial_id: str) -> list[Report]:
    reports = [engine.advance(trial_id)]
    while not reports[-1].done:
        reports.append(engine.advance(trial_id))
    return reports


def test_reports_of_a_trial(make: Maker) -> None:
    engine = make()
    engine.start(make_spec())
    reports = until_done(engine, "a")
    assert [report.index for report in reports] == [0, 1, 2, 3]
    assert [report.done for report in reports] == [False, False, False, True]
    samples = [report.samples for report in reports]
    assert samples == sorted(set(samples))
    assert samples[-1] == 2 * engine.info().train_rows
    for report in reports:
        assert (report.trial_id, report.status, report.message) == ("a", "ok", "")
        assert "score" in report.metrics
        assert all(type(value) is float for value in report.metrics.values())


def test_what_crosses_the_line_pickles(make: Maker) -> None:
    engine = make()
    spec = make_spec()
    assert pickle.loads(pickle.dumps(spec)) == spec
    engine.start(spec)
    for thing in (engine.advance("a"), engine.info(), engine.load()):
        assert pickle.loads(pickle.dumps(thing)) == thing


def test_info_and_load(make: Maker) -> None:
    engine = make()
    info = engine.info()
    assert info.max_pack == 4
    assert info.device == "cpu"
    assert (engine.load().trials, engine.load().samples_left) == (0, 0)
    for letter in "abc":
        engine.start(make_spec(letter))
    engine.advance("a")
    load = engine.load()
    assert load.trials == 3
    assert 0 < load.samples_left < 3 * 2 * info.train_rows
    until_done(engine, "a")
    engine.stop("b")
    engine.stop("b")  # unknown by now, and no error
    engine.stop("nobody")
    assert (engine.load().trials, engine.load().samples_left) == (2, 2 * info.train_rows)


def test_the_same_trial_gives_the_same_scores_in_any_company(make: Maker) -> None:
    alone = make()
    alone.start(make_spec("a", seed=3))
    expected = [report.metrics["score"] for report in until_done(alone, "a")]
    engine = make()
    for letter, seed in (("x", 1), ("a", 3), ("y", 2)):
        engine.start(make_spec(letter, seed=seed, rank=seed))
    engine.stop("x")
    engine.start(make_spec("a", seed=3))
    found = [engine.advance_all(["y", "a"]) for _ in range(4)]
    assert [[report.trial_id for report in pair] for pair in found] == [["y", "a"]] * 4
    assert [pair[1].metrics["score"] for pair in found] == pytest.approx(expected, abs=1e-5)


def test_many_threads_may_advance(make: Maker) -> None:
    engine = make()
    for letter in "abcd":
        engine.start(make_spec(letter, seed=ord(letter)))
    with ThreadPoolExecutor(4) as callers:
        every = list(callers.map(lambda letter: until_done(engine, letter), "abcd"))
    assert [[report.index for report in reports] for reports in every] == [[0, 1, 2, 3]] * 4
    assert [reports[0].trial_id for reports in every] == list("abcd")


def test_a_checkpoint_goes_on_on_another_engine(make: Maker) -> None:
    spec: TrialSpec = make_spec(seed=5)
    engine = make()
    engine.start(spec)
    reports = [engine.advance("a")]
    saved = engine.checkpoint("a")
    assert type(saved) is bytes
    reports += until_done(engine, "a")
    other = make()
    other.start(spec, saved)
    again = until_done(other, "a")
    for one, two in zip(reports[1:], again, strict=True):
        assert (one.index, one.samples, one.done, one.metrics["score"]) == (
            two.index,
            two.samples,
            two.done,
            two.metrics["score"],
        )
    assert other.evaluate("a", "test") == engine.evaluate("a", "test")


def test_evaluate_and_export(make: Maker) -> None:
    engine = make()
    engine.start(make_spec())
    until_done(engine, "a")
    for split in ("validation", "test"):
        assert "score" in engine.evaluate("a", split)
    for which in ("best", "last"):
        files = engine.export("a", which)
        assert {"adapter_config.json", "adapter_model.safetensors"} <= files.keys()
        assert all(type(content) is bytes for content in files.values())


def test_outputs_of_the_first_rows(make: Maker) -> None:
    engine = make()
    engine.start(make_spec())
    until_done(engine, "a")
    for split in ("validation", "test"):
        every = engine.outputs("a", split, 1000)
        assert len({item.name for item in every}) == len(every) > 3
        for few, item in zip(engine.outputs("a", split, 3), every[:3], strict=True):
            assert replace(few, metrics={}) == replace(item, metrics={})
            assert few.metrics == pytest.approx(item.metrics, abs=1e-5)  # other rows stood beside it
        assert pickle.loads(pickle.dumps(every)) == every
        assert all(item.input and item.expected and item.answer for item in every)
        assert all(type(value) is float for item in every for value in item.metrics.values())
    assert engine.outputs("a", "test", 2) != engine.outputs("a", "validation", 2)
    with pytest.raises(EngineError, match="nobody"):
        engine.outputs("nobody", "test", 2)


def test_starting_again_starts_anew(make: Maker) -> None:
    engine = make()
    engine.start(make_spec())
    first = engine.advance("a")
    engine.start(make_spec())
    again = engine.advance("a")
    assert (again.index, again.samples, again.metrics["score"]) == (0, first.samples, first.metrics["score"])


def test_a_closed_engine_takes_no_more_calls(make: Maker) -> None:
    engine = make()
    engine.start(make_spec())
    engine.close()
    with pytest.raises(EngineError):
        engine.advance("a")


def test_a_trial_it_does_not_hold_is_an_engine_error(make: Maker) -> None:
    engine = make()
    engine.start(make_spec("a"))
    for call in (engine.advance, engine.checkpoint, engine.export):
        with pytest.raises(EngineError, match="nobody"):
            call("nobody")
    with pytest.raises(EngineError, match="nobody"):
        engine.evaluate("nobody", "test")
