"""The way into a StudyConfig: a YAML file, dashed overrides on top, and back to YAML."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

from tuner.config import StudyConfig
from tuner.config_overrides import OVERRIDES, Override, apply_overrides
from tuner.config_yaml import MOST_BYTES, parse_yaml, read_yaml, to_yaml
from tuner.errors import ConfigError, Problem

__all__ = ["OVERRIDES", "Override", "config_to_yaml", "load_config", "parse_yaml"]

# of these a file replaces single keys of the base, else the whole
_MERGED = ("data", "space", "search", "score", "benchmark", "alerts", "rounds")


def load_config(
    path: Path | None,
    overrides: Sequence[tuple[str, Any]] = (),
    base: Mapping[str, Any] | None = None,
    *,
    extra_hyperparameters: Collection[str] = (),
    extra_bands: Collection[str] = (),
) -> StudyConfig:
    """A study's config from a YAML file, with dashed options on top.

    `overrides` are (option, text) pairs, as ("learning-rate", "1e-4..5e-3"); None as text means not given. `base` lies
    under the file: its keys hold where the file has none. `extra_hyperparameters` are the task's own names that a space
    may use, `extra_bands` the metrics it grades besides the components. What an override moved besides what it names
    stands in `config_notes` of the result. Raises ConfigError with every mistake of file and options at once."""
    raw: dict[str, Any] = deepcopy(dict(base or {}))
    unreadable = False
    problems: list[Problem] = []
    if path is not None:
        text, problems = _read_file(Path(path))
        unreadable = text is None
        if text is not None:
            data, problems = read_yaml(text, Path(path).name)
            unreadable = bool(problems) and not data
            raw = _merge(raw, data)
    found, notes, set_by = apply_overrides(raw, overrides, extra_hyperparameters)
    problems += found
    if not unreadable:  # else every required key would be reported missing too
        try:
            context = {"hyperparameters": set(extra_hyperparameters), "bands": set(extra_bands)}
            config = StudyConfig.model_validate(raw, context=context)
        except ConfigError as error:
            problems += [_with_option(problem, set_by) for problem in error.problems]
    if problems:
        raise ConfigError(problems)
    return config.with_notes(tuple(notes))


def config_to_yaml(config: StudyConfig) -> str:
    """The whole config as YAML, defaults included, which `load_config` reads as an equal one."""
    data = config.model_dump(mode="json")
    for name, entry in data["space"].items():
        if entry.get("when", "") is None:
            del entry["when"]
        if entry["type"] == "constant" and not isinstance(entry["value"], dict):
            data["space"][name] = entry["value"]
    return to_yaml(data)


def _merge(base: dict[str, Any], top: Mapping[str, Any]) -> dict[str, Any]:
    merged = {**base, **top}
    for key in _MERGED:
        if isinstance(base.get(key), Mapping) and isinstance(top.get(key), Mapping):
            merged[key] = {**base[key], **top[key]}
    return merged


def _with_option(problem: Problem, set_by: Mapping[str, str]) -> Problem:
    """A problem whose cure says that an option, not the file, set the value."""
    for path, option in set_by.items():
        if problem.name == path or problem.name.startswith((f"{path}.", f"{path}[")):
            return replace(problem, cure=f"{problem.cure} It was set by {option}.".strip())
    return problem


def _read_file(path: Path) -> tuple[str | None, list[Problem]]:
    rule, cure = "", ""
    try:
        data = path.read_bytes() if path.stat().st_size <= 4 * MOST_BYTES else b"x" * (MOST_BYTES + 1)
        return data.decode("utf-8-sig"), []
    except FileNotFoundError:
        rule, cure = "there is no such file", _similar(path)
    except IsADirectoryError:
        rule, cure = "is a folder, not a file", _inside(path)
    except UnicodeDecodeError as error:
        rule, cure = f"is not UTF-8 text (byte {error.start})", "Save it as UTF-8."
    except (OSError, ValueError) as error:
        rule, cure = f"cannot be read: {getattr(error, 'strerror', None) or error}", "Check path and permissions."
    return None, [Problem("config", str(path), rule, cure)]


def _similar(path: Path) -> str:
    near = difflib.get_close_matches(path.stem, [each.stem for each in path.parent.glob("*.yaml")], n=1, cutoff=0.5)
    return f"Did you mean {path.parent / near[0]}.yaml?" if near else _inside(path.parent)


def _inside(folder: Path) -> str:
    files = sorted(each.name for each in folder.glob("*.yaml"))
    return f"{folder} has {', '.join(files[:10])}." if files else "Name a YAML file, as those in search_spaces."
