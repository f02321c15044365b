"""The adapter of any trial: what was measured is what is made, from the study's own files alone."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.engine import toy
from tests.engine.fixtures import one_thread, toy_bases  # noqa: F401
from tuner.errors import BaseModelError, ConfigError, DataError, StoreError, StudyError
from tuner.score import mean_interval
from tuner.store.records import FAILED, INTERRUPTED, RUNNING, StudyRecord
from tuner.study.export import exported, kept
from tuner.study.folder import STATE, StudyFolder
from tuner.study.study import run_study

SPACE = {
    "rank": {"type": "choice", "values": [2, 4]},
    "learning_rate": {"type": "float", "low": 1e-3, "high": 1e-2, "log": True},
    "epochs": 2,
}


def run(base: Path, root: Path) -> tuple[Path, StudyRecord]:
    """A study of four trials, of which two were trained again from two seeds, on rows that lie in files."""
    data = toy.write_data(root / "data", toy.make_splits())
    config = toy.make_config(
        base, data, search__trials=4, search__top_k=2, search__top_k_seeds=2, space=SPACE, results=str(root / "results")
    )
    return root / "results" / "toy", run_study(config, in_process=True)


@pytest.fixture(scope="module")
def studied(toy_bases: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, StudyRecord]:  # noqa: F811
    """A study that tests only read."""
    return run(toy_bases["bert"], tmp_path_factory.mktemp("studied"))


@pytest.fixture
def own(studied: tuple[Path, StudyRecord], tmp_path: Path) -> Iterator[tuple[Path, StudyRecord]]:
    """A copy of its folder, to be spoilt; its rows lie where they lay, and are put back."""
    folder, record = studied
    rows = folder.parents[1] / "data"
    shutil.copytree(rows, tmp_path / "rows")
    shutil.copytree(folder, tmp_path / "study")
    yield tmp_path / "study", record
    shutil.rmtree(rows)
    shutil.copytree(tmp_path / "rows", rows)


def content(folder: Path) -> dict[str, bytes]:
    """Every file of a folder."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def searched(record: StudyRecord) -> list[str]:
    """Trials that were not trained again."""
    again = {each.trial_id for each in record.reruns}
    return [trial.trial_id for trial in record.trials if trial.trial_id not in again]


def test_of_the_winner_it_makes_what_lies_ready(studied: tuple[Path, StudyRecord]) -> None:
    folder, record = studied
    before = content(folder)
    assert record.winner is not None
    found = kept(folder, record, record.winner.trial_id)
    assert found.metrics == record.winner.metrics
    with exported(record, found) as made:
        assert content(made) == content(folder / "best")
    assert not made.exists()
    assert content(folder) == before


def test_a_trial_that_was_trained_again_gives_its_best_rerun(studied: tuple[Path, StudyRecord]) -> None:
    folder, record = studied
    assert record.winner is not None
    (second,) = {each.trial_id for each in record.reruns} - {record.winner.trial_id}
    runs = [each for each in record.reruns if each.trial_id == second]
    found = kept(folder, record, second)
    assert found.spec.seed == max(runs, key=lambda each: each.validation["score"]).seed
    assert found.state == StudyFolder(folder).rerun(second, found.spec.seed)
    low, high = mean_interval([each.validation["score"] for each in runs]) or (0, 0)
    assert found.metrics["score"] == pytest.approx((low + high) / 2)


def test_any_other_gives_the_best_report_of_its_search(studied: tuple[Path, StudyRecord]) -> None:
    folder, record = studied
    engine = toy.make_engine(Path(record.base_model))
    try:
        for trial_id in searched(record):
            trial = next(each for each in record.trials if each.trial_id == trial_id)
            found = kept(folder, record, trial_id)
            assert trial.best is not None
            assert found.metrics == trial.reports[trial.best]
            checkpoint = folder / "trials" / trial_id / f"checkpoint-{trial.best:04d}" / STATE
            engine.start(found.spec, checkpoint.read_bytes())
            then = engine.export(trial_id, "last")
            with exported(record, found) as made:
                assert content(made)["adapter_model.safetensors"] == then["adapter_model.safetensors"]
            engine.stop(trial_id)
    finally:
        engine.close()


def test_states_that_are_gone(own: tuple[Path, StudyRecord]) -> None:
    folder, record = own
    assert record.winner is not None
    trial_id = record.winner.trial_id
    place = folder / "trials" / trial_id
    best, other = sorted(
        (each for each in record.reruns if each.trial_id == trial_id), key=lambda each: -each.validation["score"]
    )
    shutil.rmtree(place / f"seed-{best.seed}")
    assert kept(folder, record, trial_id).spec.seed == other.seed
    shutil.rmtree(place / f"seed-{other.seed}")
    trial = next(each for each in record.trials if each.trial_id == trial_id)
    assert kept(folder, record, trial_id).spec.seed == trial.seed
    for path in place.glob("checkpoint-*"):
        shutil.rmtree(path)
    with pytest.raises(StudyError, match=f"of trial {trial_id} of study toy no checkpoint is left"):
        kept(folder, record, trial_id)


@pytest.mark.parametrize(
    ("state", "message"),
    [(FAILED, "has failed \\(the loss was not finite\\): it has no adapter"), (RUNNING, "has not ended.*--resume toy")],
)
def test_trials_that_have_no_adapter(studied: tuple[Path, StudyRecord], state: str, message: str) -> None:
    folder, record = studied
    first = replace(record.trials[0], state=state, message="the loss was not finite")
    with pytest.raises(StudyError, match=message):
        kept(folder, replace(record, trials=(first, *record.trials[1:])), first.trial_id)
    with pytest.raises(StudyError, match="study toy has no trial t9"):
        kept(folder, record, "t9")


def test_one_that_was_interrupted_has_what_it_reached(studied: tuple[Path, StudyRecord]) -> None:
    folder, record = studied
    (trial_id, *_) = searched(record)
    trials = [replace(each, state=INTERRUPTED) for each in record.trials]
    found = kept(folder, replace(record, trials=tuple(trials), winner=None), trial_id)
    with exported(record, found) as made:
        assert (made / "adapter_config.json").is_file()


def test_a_state_that_is_damaged(own: tuple[Path, StudyRecord]) -> None:
    folder, record = own
    (trial_id, *_) = searched(record)
    found = kept(folder, record, trial_id)
    with pytest.raises(StoreError), exported(record, replace(found, state=found.state[:-7])):
        pass
    for path in (folder / "trials" / trial_id).glob("checkpoint-*"):
        shutil.rmtree(path)
    ((folder / "trials" / trial_id) / "checkpoint-0009" / STATE).mkdir(parents=True)
    with pytest.raises(StoreError, match=f"the state of trial {trial_id} in .* cannot be read"):
        kept(folder, record, trial_id)


def test_rows_that_have_changed(own: tuple[Path, StudyRecord]) -> None:
    folder, record = own
    (trial_id, *_) = searched(record)
    found = kept(folder, record, trial_id)
    rows = folder.parent / "rows"
    place = Path(record.config["data"]["source"])
    lines = (rows / "train.jsonl").read_text().splitlines(keepends=True)
    (place / "train.jsonl").write_text("".join(lines[1:]))
    with (
        pytest.raises(StudyError, match=f"the train rows of study toy have changed since.*{trial_id}"),
        exported(record, found),
    ):
        pass
    shutil.rmtree(place)
    with pytest.raises(DataError), exported(record, found):
        pass
    place.mkdir()


def test_a_base_that_is_gone(studied: tuple[Path, StudyRecord], tmp_path: Path) -> None:
    folder, record = studied
    found = kept(folder, record, searched(record)[0])
    gone = replace(record, config={**record.config, "base_model": str(tmp_path / "gone")})
    with pytest.raises(BaseModelError), exported(gone, found):
        pass
    with (
        pytest.raises(ConfigError, match="base_model = None: must be given"),
        exported(replace(record, config={"task": 3}), found),
    ):
        pass
