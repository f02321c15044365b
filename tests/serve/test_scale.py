"""Replicas and threads where the settings do not say."""

from __future__ import annotations

from pathlib import Path

import pytest

from serve import scale
from serve.scale import Scale, scale_of
from serve.settings import ServeSettings, TaskSettings


def settings(*names: str, **own: int) -> ServeSettings:
    """Of some tasks, the first one with values of its own."""
    return ServeSettings(tasks={name: TaskSettings(**(own if at == 0 else {})) for at, name in enumerate(names)})


@pytest.fixture
def small(tmp_path: Path) -> str:
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    (tmp_path / "model.safetensors").write_bytes(b"x" * 1000)
    return str(tmp_path)


@pytest.fixture(autouse=True)
def eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scale, "cores", lambda: 8)


def test_a_small_base_on_a_cpu_is_held_once_a_core(small: str) -> None:
    assert scale_of("sentiment", settings("sentiment"), small, on_cpu=True) == Scale(8, 1)
    assert scale_of("sentiment", settings("sentiment", "shoe_qa"), small, on_cpu=True) == Scale(4, 1)


def test_a_large_base_and_a_gpu_have_one_replica(small: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert scale_of("sentiment", settings("sentiment"), small, on_cpu=False) == Scale(1, 8)
    monkeypatch.setattr(scale, "SMALL", 999)
    assert scale_of("sentiment", settings("sentiment"), small, on_cpu=True) == Scale(1, 8)


@pytest.mark.parametrize("base", ["/no/folder", "garment_sd"])
def test_what_is_not_known_has_one_replica(base: str) -> None:
    assert scale_of("sentiment", settings("sentiment"), base, on_cpu=True) == Scale(1, 8)


@pytest.mark.parametrize(
    ("own", "expected"),
    [({"replicas": 2}, Scale(2, 4)), ({"threads": 3}, Scale(1, 3)), ({"replicas": 9}, Scale(9, 1))],
)
def test_settings_win(own: dict[str, int], expected: Scale, small: str) -> None:
    assert scale_of("sentiment", settings("sentiment", **own), small, on_cpu=True) == expected


def test_more_tasks_than_cores(small: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scale, "cores", lambda: 2)
    assert scale_of("sentiment", settings("sentiment", "shoe_qa", "fashion"), small, on_cpu=True) == Scale(1, 1)
