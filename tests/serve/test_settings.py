"""Settings of a server: every mistake at once, in sentences."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve.settings import ServeSettings, TaskSettings, read_settings, settings_from
from tuner.errors import ConfigError


def test_the_defaults_serve_every_task_on_this_machine_alone() -> None:
    found = settings_from({})
    assert found.host == "127.0.0.1"
    assert not found.development
    assert set(found.tasks) == {"sentiment", "shoe_qa", "fashion"}


def test_a_file(tmp_path: Path) -> None:
    path = tmp_path / "serve.yaml"
    path.write_text("port: 9000\ntasks:\n  sentiment:\n    queue: 5\n")
    found = settings_from(read_settings(path))
    assert found.port == 9000
    assert found.tasks == {"sentiment": TaskSettings(queue=5)}
    path.write_text("")
    assert settings_from(read_settings(path)) == ServeSettings()


@pytest.mark.parametrize(
    ("data", "names"),
    [
        ({"port": 0, "drain_s": -1, "hots": "x"}, ["port", "drain_s", "hots"]),
        ({"tasks": {"sentiment": {"timeout_s": 0, "queue": "many"}}}, ["timeout_s", "queue"]),
        ({"tasks": {"sentiment": {"timeout_s": float("nan")}}}, ["timeout_s"]),
        ({"tasks": {"sentiment": {"replicas": 3, "max_replicas": 2}}}, ["max_replicas = 2 is below replicas = 3"]),
        ({"tasks": {}}, ["tasks"]),
        ({"tasks": {"sentimnt": {}, "nobody": {}}}, ["tasks.sentimnt", "tasks.nobody", "Use one of: "]),
        ({1: 2}, ["1"]),
        ({"tasks": [1]}, ["tasks"]),
    ],
)
def test_mistakes_are_told_at_once(data: dict[Any, Any], names: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        settings_from(data)
    for name in names:
        assert name in str(caught.value)


@given(st.dictionaries(st.text(max_size=8), st.one_of(st.none(), st.integers(), st.text(max_size=8), st.floats())))
def test_unknown_names_are_refused(data: dict[str, Any]) -> None:
    if set(data) - set(ServeSettings.model_fields):
        with pytest.raises(ConfigError) as caught:
            settings_from(data)
        assert caught.value.problems


@pytest.mark.parametrize("content", [b"- a", b"a: [", b"\xff\xfe\x00", b"[" * 5000, b"a: !!python/object:os.system {}"])
def test_files_that_are_none(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "serve.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"serve\.yaml"):
        read_settings(path)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="it cannot be read"):
        read_settings(tmp_path / "none.yaml")
