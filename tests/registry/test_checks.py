"""Which folders may be promoted, and that every mistake in one is named at once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.registry.toys import TENSORS, make_adapter
from tuner.errors import DataError
from tuner.registry import Allowance
from tuner.registry.checks import check_source


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    return make_adapter(tmp_path / "adapter")


def refused(folder: Path, **allowed: int) -> dict[str, str]:
    """The rule that each named file breaks."""
    with pytest.raises(DataError) as error:
        check_source(folder, Allowance(**allowed))
    return {str(problem.value): f"{problem.name}: {problem.rule}" for problem in error.value.problems}


def test_an_adapter_passes(adapter: Path) -> None:
    for name in (
        "README.md",
        "chat_template.jinja",
        "tokenizer.model",
        "part/vocab.txt",
        "part/special_tokens_map.json",
    ):
        (adapter / name).write_text("{}")
    files = sorted(str(path.relative_to(adapter)) for path in adapter.rglob("*") if path.is_file())
    assert sorted(check_source(adapter, Allowance())) == files
    assert len(files) == 8


def test_every_mistake_at_once(adapter: Path) -> None:
    (adapter / "adapter_model.safetensors").write_bytes(TENSORS[:-1])
    (adapter / "adapter_config.json").write_text("{")
    (adapter / "part" / "merges.txt").write_bytes(b"\xff")
    for name in ("model.bin", "x.pt", "x.PKL", "run.py", "other.model", "no_suffix", ".hidden", "a b.json", "鞋.json"):
        (adapter / name).touch()
    (adapter / "manifest.json").write_text("{}")
    (adapter / "link.json").symlink_to("adapter_config.json")
    (adapter / "folder").symlink_to("part")
    os.mkfifo(adapter / "pipe.json")
    said = refused(adapter)
    assert "and the file holds 31" in said["adapter_model.safetensors"]
    assert "no JSON" in said["adapter_config.json"]
    assert "no UTF-8" in said["part/merges.txt"]
    for name in ("model.bin", "x.pt", "x.PKL", "run.py"):
        assert "could run code" in said[name]
    for name in ("other.model", "no_suffix"):
        assert "kind is not known" in said[name]
    for name in (".hidden", "a b.json", "鞋.json"):
        assert "a name is ASCII" in said[name]
    assert "registry's own" in said["manifest.json"]
    for name in ("link.json", "folder"):
        assert "symbolic link" in said[name]
    assert "no regular file" in said["pipe.json"]
    assert len(said) == 16


@pytest.mark.parametrize(
    ("allowed", "what", "message"),
    [
        ({"files": 2}, "3", "files: at most 2"),
        ({"tensor_bytes": 100}, "adapter_model.safetensors", "and 100 are allowed"),
        ({"json_bytes": 10}, "adapter_config.json", "and 10 are allowed"),
        ({"text_bytes": 3}, "part/merges.txt", "and 3 are allowed"),
        ({"json_depth": 0}, "adapter_config.json", "nested more than 0"),
        ({"depth": 0}, "part", "folders may lie 0 deep"),
    ],
)
def test_limits(adapter: Path, allowed: dict[str, int], what: str, message: str) -> None:
    said = refused(adapter, **allowed)
    assert list(said) == [what]
    assert message in said[what]


def test_all_together(adapter: Path) -> None:
    assert any("all files together" in rule for rule in refused(adapter, total_bytes=100).values())


def test_a_sparse_giant_is_refused_unread(adapter: Path) -> None:
    with (adapter / "huge.safetensors").open("wb") as file:
        file.truncate(2**35)
    assert "are allowed" in refused(adapter)["huge.safetensors"]


def test_of_a_great_many_files_no_list_is_made(tmp_path: Path) -> None:
    for number in range(300):
        (tmp_path / f"{number}.txt").touch()
    assert refused(tmp_path) == {"200": "files: at most 100 are allowed"}


def test_names_that_differ_in_case_alone(adapter: Path) -> None:
    (adapter / "Adapter_Config.json").write_text("{}")
    if len(list(adapter.iterdir())) == 4:  # a disk that keeps both
        assert any("upper and lower case" in rule for rule in refused(adapter).values())


def test_what_is_no_folder(adapter: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(adapter)
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "link", tmp_path / "gone", adapter / "adapter_config.json"):
        assert "it must be a folder, not a link" in refused(path)[str(path)]
    assert "holds no file" in refused(tmp_path / "empty")[""]
    assert "'..'" in refused(adapter / ".." / "adapter")[str(adapter / ".." / "adapter")]
