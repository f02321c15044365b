"""Files: whole or not at all, also when the program dies or the disk is full."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.store.factory import study
from tuner.errors import StoreError
from tuner.store import files


def test_a_study_round_trip(tmp_path: Path) -> None:
    record = study()
    files.write_study(tmp_path / "reviews", record)
    assert files.read_study(tmp_path / "reviews") == record


def test_a_study_is_saved_a_trial_a_line(tmp_path: Path) -> None:
    record = study()
    files.write_study(tmp_path, record)
    text = (tmp_path / "study.json").read_text(encoding="utf-8")
    assert json.loads(text) == files.finite(record.to_json())
    lines = text.partition('"trials": [')[2].splitlines()[1:-2]
    assert [json.loads(line.removesuffix(","))["trial_id"] for line in lines] == [t.trial_id for t in record.trials]


def test_a_study_without_trials_is_saved(tmp_path: Path) -> None:
    record = study(trials=0)
    files.write_study(tmp_path, record)
    assert files.read_study(tmp_path) == record


def test_nan_and_infinity_become_null(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    files.write_json(path, {"a": math.nan, "b": [math.inf, 1.5, {"c": -math.inf}], "d": (1, 2)})
    assert json.loads(path.read_text()) == {"a": None, "b": [None, 1.5, {"c": None}], "d": [1, 2]}


def test_text_is_utf8_and_readable_by_others(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "a.txt"
    files.write_text(path, "质量很好 café")
    assert path.read_bytes().decode("utf-8") == "质量很好 café"
    assert path.stat().st_mode & 0o777 == 0o644


def test_a_write_that_fails_keeps_the_old_file_and_leaves_no_litter(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    files.write_json(path, {"old": True})
    with pytest.raises(TypeError):
        files.write_bytes(path, "text is not bytes")  # type: ignore[arg-type]
    assert json.loads(path.read_text()) == {"old": True}
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.json"]


def test_a_process_killed_while_writing_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "study.json"
    files.write_text(path, "old")
    program = (
        "import os, signal, sys\nfrom pathlib import Path\nfrom tuner.store import files\n"
        "os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)\n"  # dies with the new bytes written, not yet named
        "files.write_text(Path(sys.argv[1]), 'new' * 1000)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(path)], check=False)
    assert done.returncode < 0
    assert path.read_text() == "old"


@pytest.mark.skipif(sys.platform == "win32", reason="file size limits are POSIX")
def test_a_full_disk_is_a_sentence_and_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "study.json"
    files.write_text(path, "old")
    program = (
        "import resource, signal, sys\nfrom pathlib import Path\nfrom tuner.errors import StoreError\n"
        "from tuner.store import files\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try:\n    files.write_text(Path(sys.argv[1]), 'new' * 1000)\n"
        "except StoreError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(path)], check=True, capture_output=True, text=True)
    assert done.stdout.startswith(f"cannot write {path}: ")
    assert "Free space" in done.stdout
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["study.json"]


def test_a_folder_that_cannot_be_made_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot write"):
        files.write_text(tmp_path / "file" / "a.txt", "x")


@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="the superuser may write anywhere")
def test_a_read_only_folder_is_a_sentence(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(StoreError, match="Permission denied"):
        files.write_text(tmp_path / "a.txt", "x")


def test_a_missing_study_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"there is no study in .*: study\.json is missing"):
        files.read_study(tmp_path)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"name": "x"}', '{"trials": 3}', '"text"', "null", "\udcff"])
def test_a_damaged_study_is_a_sentence(tmp_path: Path, content: str) -> None:
    (tmp_path / "study.json").write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(StoreError, match=r"study\.json cannot be read"):
        files.read_study(tmp_path)
