"""The experiments database: what goes in comes out, two writers lose nothing, and every failure is a sentence."""

from __future__ import annotations

import json
import math
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.store.factory import params, study, trial
from tuner.errors import StoreError
from tuner.store import experiments as module
from tuner.store.experiments import Experiments, open_experiments
from tuner.store.records import RUNNING, StudyRecord


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "results" / "experiments.db"


@pytest.fixture
def experiments(path: Path) -> Iterator[Experiments]:
    with open_experiments(path) as opened:
        yield opened


def with_score(record: StudyRecord, score: float, number: int) -> StudyRecord:
    assert record.winner is not None
    return replace(record, winner=replace(record.winner, score=score, params=params(number)))


def test_a_new_database_is_empty(experiments: Experiments) -> None:
    assert experiments.list_studies() == []
    assert experiments.winners("sentiment", "minilm") == []
    assert experiments.best_of("sentiment", "minilm") is None


def test_a_study_is_listed_as_it_was_recorded(experiments: Experiments) -> None:
    record = study()
    experiments.record_study(record)
    (found,) = experiments.list_studies()
    assert record.winner is not None
    assert (found.name, found.task, found.base_model, found.state) == ("reviews", "sentiment", "minilm", "complete")
    assert (found.created, found.finished) == (record.created, record.finished)
    assert (found.trials, found.complete, found.pruned, found.failed) == (16, 10, 5, 1)
    assert (found.score, found.interval) == (record.winner.score, record.winner.interval)
    assert (found.params, found.test) == (record.winner.params, record.winner.test)


def test_recording_again_replaces(experiments: Experiments) -> None:
    done = study()
    experiments.record_study(replace(done, state=RUNNING, winner=None, trials=done.trials[:3], finished=None))
    assert experiments.best_of("sentiment", "minilm") is None
    assert experiments.list_studies()[0].trials == 3
    experiments.record_study(done)
    (found,) = experiments.list_studies()
    assert (found.state, found.trials) == ("complete", 16)
    assert experiments.best_of("sentiment", "minilm") == found.params


def test_the_same_name_at_another_time_is_another_study(experiments: Experiments) -> None:
    experiments.record_study(study(created=1.0))
    experiments.record_study(study(created=2.0))
    assert [found.created for found in experiments.list_studies()] == [2.0, 1.0]


def test_studies_of_one_task(experiments: Experiments) -> None:
    experiments.record_study(study(name="a"))
    experiments.record_study(study(name="b", task="shoe_qa"))
    assert [found.name for found in experiments.list_studies(task="shoe_qa")] == ["b"]


def test_winners_best_first_each_once_of_this_task_and_base_only(experiments: Experiments) -> None:
    base = study()
    for name, score, number in (("a", 0.7, 1), ("b", 0.9, 2), ("c", 0.8, 3), ("d", 0.75, 2)):
        experiments.record_study(replace(with_score(base, score, number), name=name))
    experiments.record_study(replace(with_score(base, 0.99, 4), name="e", base_model="roberta-base"))
    experiments.record_study(replace(with_score(base, 0.99, 4), name="f", task="shoe_qa"))
    experiments.record_study(replace(with_score(base, math.nan, 5), name="g"))
    assert experiments.winners("sentiment", "minilm") == [params(2), params(3), params(1)]
    assert experiments.winners("sentiment", "minilm", limit=1) == [params(2)]
    assert experiments.best_of("sentiment", "minilm") == params(2)


def test_numbers_that_are_none_are_stored_as_such(experiments: Experiments, path: Path) -> None:
    broken = trial(0).with_report({"samples": 9.0, "score": math.nan, "loss": math.inf})
    experiments.record_study(replace(study(trials=0), trials=(broken,)))
    with sqlite3.connect(path) as raw:
        score, samples, metrics = raw.execute("SELECT score, samples, metrics FROM trials").fetchone()
    raw.close()
    assert (score, samples) == (broken.score, 9)
    assert json.loads(metrics) == broken.reports[broken.best or 0]


def test_two_processes_writing_at_once_lose_nothing(path: Path) -> None:
    program = (
        "import sys\nfrom tests.store.factory import study\n"
        "from tuner.store.experiments import open_experiments\n"
        "for n in range(25):\n"
        "    with open_experiments(sys.argv[1]) as experiments:\n"
        "        experiments.record_study(study(trials=4, name=f'{sys.argv[2]}-{n}', created=float(n)))\n"
        "        experiments.record_study(study(trials=4, name='shared', created=7.0))\n"
    )
    writers = [subprocess.Popen([sys.executable, "-c", program, str(path), name]) for name in ("a", "b", "c")]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    with open_experiments(path) as experiments:
        found = experiments.list_studies()
    assert {study.name for study in found} == {f"{who}-{n}" for who in "abc" for n in range(25)} | {"shared"}
    assert len(found) == 76
    assert {study.trials for study in found} == {4}


def test_a_url_works_as_well_as_a_path(tmp_path: Path) -> None:
    with open_experiments(f"sqlite:///{tmp_path / 'x.db'}") as experiments:
        experiments.record_study(study())
    with open_experiments(tmp_path / "x.db") as experiments:
        assert len(experiments.list_studies()) == 1


def test_a_damaged_file_is_a_sentence(path: Path) -> None:
    path.parent.mkdir(parents=True)
    path.write_bytes(b"this is no database at all" * 100)
    with pytest.raises(StoreError, match=r"experiments\.db is damaged or no database"):
        open_experiments(path)
    assert path.read_bytes().startswith(b"this is")


def test_damaged_values_are_a_sentence(experiments: Experiments, path: Path) -> None:
    experiments.record_study(study())
    with sqlite3.connect(path) as raw:
        raw.execute("UPDATE studies SET winner = '{'")
    raw.close()
    with pytest.raises(StoreError, match=r"experiments\.db cannot be used"):
        experiments.list_studies()


def test_a_locked_database_is_a_sentence(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOCK_TIMEOUT_S", 0.05)
    with open_experiments(path) as experiments:
        holder = sqlite3.connect(path, isolation_level=None)
        holder.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StoreError, match="locked by another process"):
            experiments.record_study(study())
        holder.execute("ROLLBACK")
        holder.close()
        experiments.record_study(study())
        assert len(experiments.list_studies()) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="file size limits are POSIX")
def test_a_full_disk_is_a_sentence_and_keeps_what_was_there(experiments: Experiments, path: Path) -> None:
    experiments.record_study(study(name="kept"))
    program = (
        "import resource, signal, sys\nfrom pathlib import Path\nfrom tests.store.factory import study\n"
        "from tuner.errors import StoreError\nfrom tuner.store.experiments import open_experiments\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "size = Path(sys.argv[1]).stat().st_size\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))\n"
        "with open_experiments(sys.argv[1]) as experiments:\n"
        "    try:\n        experiments.record_study(study(trials=400, name='lost'))\n"
        "    except StoreError as error:\n        print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(path)], check=True, capture_output=True, text=True)
    assert done.stdout.startswith(f"cannot write {path}: no space left")
    assert [found.name for found in experiments.list_studies()] == ["kept"]


def test_a_folder_that_cannot_be_made_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot write"):
        open_experiments(tmp_path / "file" / "experiments.db")


def test_a_folder_in_place_of_the_file_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot write"):
        open_experiments(tmp_path)


def test_tables_of_another_version_are_a_sentence(path: Path) -> None:
    path.parent.mkdir(parents=True)
    with sqlite3.connect(path) as raw:
        raw.execute("CREATE TABLE studies (id INTEGER PRIMARY KEY, name TEXT)")
        raw.execute("CREATE TABLE trials (study_id INTEGER)")
    raw.close()
    with open_experiments(path) as experiments, pytest.raises(StoreError, match="another version"):
        experiments.record_study(study())


@pytest.mark.parametrize("url", ["nonsense://host/x", "postgresql://user:secret@nowhere:port/x", "://"])
def test_a_bad_url_is_a_sentence_without_the_password(url: str) -> None:
    with pytest.raises(StoreError) as caught:
        open_experiments(url)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)
