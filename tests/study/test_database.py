"""study.db: what optuna-dashboard would show is what happened, also while the study runs and after it was
interrupted."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import optuna
from optuna.trial import TrialState

from tests.study.test_sampler import make_sampler
from tuner.store.records import COMPLETE, FAILED, PRUNED
from tuner.study.database import StudyDatabase, waiting


def load(path: Path) -> list[optuna.trial.FrozenTrial]:
    storage = optuna.storages.RDBStorage(f"sqlite:///{path}")
    try:
        return optuna.load_study(study_name="s", storage=storage).trials
    finally:
        storage.remove_session()
        storage.engine.dispose()


def test_it_mirrors_trials_as_they_run_and_end(tmp_path: Path) -> None:
    sampler, database = make_sampler(), StudyDatabase(tmp_path / "study.db", "s")
    ids = [sampler.ask().trial_id for _ in range(3)]
    for number in range(3):
        database.put(sampler.frozen(number))
    database.flush()
    assert [trial.state for trial in load(tmp_path / "study.db")] == [TrialState.RUNNING] * 3

    for step, score in ((50, 0.3), (100, 0.6)):
        sampler.report(ids[0], step, score)
    database.put(sampler.frozen(0))
    database.flush()
    assert load(tmp_path / "study.db")[0].intermediate_values == {50: 0.3, 100: 0.6}

    sampler.report(ids[1], 50, 0.1)
    for trial_id, state in zip(ids, (COMPLETE, PRUNED, FAILED), strict=True):
        sampler.tell(trial_id, state)
    late = sampler.ask()
    sampler.report(late.trial_id, 50, 0.9)
    sampler.tell(late.trial_id, COMPLETE)
    for number in range(4):
        database.put(sampler.frozen(number))
    database.close()
    trials = load(tmp_path / "study.db")
    assert [trial.state.name for trial in trials] == ["COMPLETE", "PRUNED", "FAIL", "COMPLETE"]
    assert [trial.value for trial in trials] == [0.6, 0.1, None, 0.9]
    assert trials[1].intermediate_values == {50: 0.1}
    frozen = [sampler.frozen(number) for number in range(4)]
    for name in ("params", "distributions", "datetime_start", "datetime_complete", "number"):
        assert [getattr(trial, name) for trial in trials] == [getattr(trial, name) for trial in frozen], name
    assert not (tmp_path / "study.db-wal").exists() or (tmp_path / "study.db-wal").stat().st_size == 0


def test_an_interrupted_trial_waits_and_goes_on_in_another_process(tmp_path: Path) -> None:
    path = tmp_path / "study.db"
    sampler, database = make_sampler(), StudyDatabase(path, "s")
    trial_id = sampler.ask().trial_id
    sampler.report(trial_id, 50, 0.3)
    database.put(waiting(sampler.frozen(0)))
    database.close()
    assert load(path)[0].state is TrialState.WAITING

    again = StudyDatabase(path, "s")
    again.put(sampler.frozen(0))
    again.flush()
    assert load(path)[0].state is TrialState.RUNNING
    sampler.report(trial_id, 100, 0.4)
    sampler.tell(trial_id, COMPLETE)
    again.put(sampler.frozen(0))
    again.close()
    (trial,) = load(path)
    assert (trial.state, trial.value) == (TrialState.COMPLETE, 0.4)
    assert trial.intermediate_values == {50: 0.3, 100: 0.4}


def test_trials_that_the_record_never_knew_make_room_for_new_ones(tmp_path: Path) -> None:
    path = tmp_path / "study.db"
    sampler, crashed = make_sampler(), StudyDatabase(path, "s")
    for number in range(3):
        trial_id = sampler.ask().trial_id
        sampler.report(trial_id, 50, 0.5)
        sampler.tell(trial_id, COMPLETE)
        crashed.put(sampler.frozen(number))
    crashed.close()

    again, database = make_sampler(seed=7), StudyDatabase(path, "s", known=1)
    for number in range(3):
        again.ask()
        database.put(again.frozen(number))
    database.close()
    trials = load(path)
    assert [trial.number for trial in trials] == [0, 1, 2]
    assert [trial.state.name for trial in trials] == ["COMPLETE", "RUNNING", "RUNNING"]
    assert trials[0].params == sampler.frozen(0).params
    assert [trial.params for trial in trials[1:]] == [again.frozen(number).params for number in (1, 2)]


def test_readers_do_not_block_the_study(tmp_path: Path) -> None:
    path = tmp_path / "study.db"
    sampler, database = make_sampler(), StudyDatabase(path, "s")
    sampler.ask()
    database.put(sampler.frozen(0))
    database.flush()
    reader = sqlite3.connect(path)
    try:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM trials").fetchall()
        sampler.ask()
        database.put(sampler.frozen(1))
        database.flush()
    finally:
        reader.close()
    database.close()
    assert len(load(path)) == 2
