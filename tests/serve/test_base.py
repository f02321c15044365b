"""Which base serves a task."""

from __future__ import annotations

import json
from pathlib import Path

from serve.base import base_of
from serve.settings import TaskSettings
from tests.serve.toy import Adapters, promote, writable
from tuner import tasks
from tuner.registry import Registry

SPEC = tasks.spec("sentiment")


def test_the_settings_then_the_newest_adapter_then_the_default(tmp_path: Path, adapters: Adapters) -> None:
    registry = Registry(tmp_path / "registry")
    assert base_of(SPEC, TaskSettings(), registry) == ("minilm", None)
    promote(registry, adapters.folders[0])
    assert base_of(SPEC, TaskSettings(), registry) == (str(adapters.base), None)
    named = TaskSettings(base_model="roberta-base", revision="a" * 40)
    assert base_of(SPEC, named, registry) == ("roberta-base", "a" * 40)
    assert base_of(tasks.spec("shoe_qa"), TaskSettings(), registry) == ("shoe_chat", None), "of another task"


def test_a_damaged_version_is_passed_over(tmp_path: Path, adapters: Adapters) -> None:
    registry = Registry(tmp_path / "registry")
    promote(registry, adapters.folders[0])
    newest = promote(registry, adapters.folders[1])
    manifest = writable(registry.folder(newest)) / "manifest.json"
    manifest.write_text(json.dumps({"format": 1}))
    assert base_of(SPEC, TaskSettings(), registry) == (str(adapters.base), None)
