"""The engine behind an actor: calls that block do not keep others from being answered; the class is named by path."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.engine.null_engine import NULL_ENGINE, SLOW_ENGINE
from tests.study.factory import START, make_config
from tuner.engine.actor import local_engine
from tuner.engine.contract import EngineSettings, TrialSpec
from tuner.engine.placement import place_engines
from tuner.engine.pool import Pool, Stopped
from tuner.errors import TrialError

SPEC = TrialSpec("t0", START, 1)


@pytest.fixture(scope="session")
def on_ray() -> Iterator[None]:
    """Ray on this machine; the tests of the search use the same."""
    from cluster.connect import connected

    with connected():
        yield


@pytest.fixture
def pool(on_ray: None, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Pool]:
    import ray

    places = place_engines(["cpu"], ray.nodes(), 1)
    settings = [EngineSettings(make_config(tmp_path), "cpu", places[0].threads, 4, f"engine:cpu:{request.node.name}")]
    made = Pool(getattr(request, "param", NULL_ENGINE), settings, places, threading.Event())
    yield made
    made.close()


def test_a_local_engine_is_the_same_class(tmp_path: Path) -> None:
    engine: Any = local_engine(NULL_ENGINE, EngineSettings(make_config(tmp_path), "cpu", name="here"))
    assert type(engine).__name__ == "NullEngine"
    assert engine.info().name == "here"


@pytest.mark.slow
def test_an_actor_trains_a_trial_to_its_end_and_exports_it(pool: Pool) -> None:
    (info,) = pool.infos()
    assert info.max_pack == 4
    pool.start(SPEC, 400)
    assert pool.engine_of("t0") == info.name
    reports = [pool.advance("t0") for _ in range(8)]
    assert [report.samples for report, _ in reports] == list(range(50, 401, 50))
    assert reports[-1][0].done
    assert pool.evaluate("t0", "test")["score"] < reports[-1][0].metrics["score"]
    assert b'"rank": 8' in pool.export("t0", "best")["adapter_config.json"]
    assert [item.input for item in pool.outputs("t0", "test", 2)] == ["test row 1", "test row 2"]
    pool.stop("t0")
    pool.start(TrialSpec("t1", START, 1), 400, reports[3][1])
    assert pool.advance("t1")[0].samples == 250


@pytest.mark.slow
def test_a_trial_that_cannot_be_held_is_refused_as_itself_and_takes_no_slot(pool: Pool) -> None:
    pool.infos()
    for _ in range(6):
        with pytest.raises(TrialError, match="rank 13") as caught:
            pool.start(TrialSpec("bad", {**START, "rank": 13}, 1), 100)
        assert caught.value.kind == "out_of_memory"
    for number in range(4):
        pool.start(TrialSpec(f"t{number}", START, 1), 100)


@pytest.mark.slow
def test_a_full_engine_is_waited_for(pool: Pool) -> None:
    pool.infos()
    for number in range(4):
        pool.start(TrialSpec(f"t{number}", START, 1), 100)
    fifth = threading.Thread(target=lambda: pool.start(TrialSpec("t4", START, 1), 100))
    fifth.start()
    fifth.join(0.5)
    assert fifth.is_alive()
    pool.stop("t2")
    fifth.join(20)
    assert not fifth.is_alive()
    assert pool.engine_of("t4")


@pytest.mark.slow
@pytest.mark.parametrize("pool", [SLOW_ENGINE], indirect=True)
def test_load_is_answered_while_trials_advance(pool: Pool) -> None:
    import ray

    pool.infos()
    handle = pool._members[0].handle
    for number in range(4):
        pool.start(TrialSpec(f"t{number}", START, 1), 400)
    advancing = [handle.advance.remote(f"t{number}") for number in range(4)]
    load = ray.get(handle.load.remote())
    assert load.trials == 4
    assert ray.wait(advancing, num_returns=4, timeout=0)[1]
    assert len(ray.get(advancing)) == 4


@pytest.mark.slow
def test_a_stopped_study_waits_for_nothing(pool: Pool) -> None:
    pool.infos()
    pool.start(SPEC, 100)
    pool._stopping.set()
    with pytest.raises(Stopped):
        pool.advance("t0")


@pytest.mark.slow
def test_an_actor_has_a_readable_name_and_whole_cpus(pool: Pool) -> None:
    import ray

    (info,) = pool.infos()
    assert info.name == pool._members[0].settings.name
    assert ray.get_actor(info.name) is not None
    assert ray.available_resources().get("CPU", 0) == 0
