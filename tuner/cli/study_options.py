"""The options that describe a study, shared by the verbs that take one, and how they become a StudyConfig.

Which overrides there are stands in `tuner/config_overrides.py`; each becomes a dashed option here, and so does every
hyperparameter of a task's own. Chooses the search space: --config names a file, --space one of those that come along.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

import tuner
from tuner import tasks
from tuner.config import StudyConfig
from tuner.config_file import OVERRIDES, load_config, parse_yaml
from tuner.errors import ConfigError, Problem, StudyError
from tuner.score_benchmark import configured
from tuner.tasks.task import TaskSpec

SPACES = Path(tuner.__file__).parents[1] / "search_spaces"
"""Search spaces lie beside the package: at the top of a checkout, and where pip puts them."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """TASK, --config, --space, and an option for every override and hyperparameter."""
    parser.add_argument("task", nargs="?", metavar="TASK", help=f"one of: {', '.join(tasks.names())}")
    source = parser.add_mutually_exclusive_group()
    source.add_argument(
        "--config", type=Path, metavar="FILE", help="a search space of your own, as `tuner init` writes"
    )
    source.add_argument("--space", metavar="NAME", help="a search space that comes along, as minilm or roberta")
    general = parser.add_argument_group("options in place of what the search space says")
    searched = parser.add_argument_group("hyperparameters: a value, a range LOW..HIGH, or several values A,B,C")
    for name, override in OVERRIDES.items():
        group = searched if override.path.startswith("space.") else general
        group.add_argument(f"--{name}", dest=_dest(name), metavar=override.metavar, help=_plain(override.help))
    for name, owners in _own_hyperparameters().items():
        help_text = f"of the task {' and '.join(owners)}"
        searched.add_argument(f"--{name}", dest=_dest(name), metavar="VALUE|LOW..HIGH|A,B,C", help=help_text)


def load(options: argparse.Namespace, resume: str | None = None) -> StudyConfig:
    """The config that the options describe; that of the study `resume`, if given, with the options on top.

    Raises ConfigError with every mistake, StudyError if there is no such study to resume. Names of measures that the
    task does not have are refused where all else is right."""
    overrides = [(name, getattr(options, _dest(name))) for name in [*OVERRIDES, *_own_hyperparameters()]]
    given = [(name, value) for name, value in overrides if value is not None]
    if resume is not None and options.space is not None:
        cure = "A study goes on with the space it has."
        raise ConfigError(Problem("--space", options.space, "does not go with --resume", cure))
    path: Path | None = options.config
    if resume is not None:
        path = path or _saved_config(dict(given), resume)
        # A results folder that moved since the study began is found where it is now.
        given = [("results", "results"), *given, ("name", resume)]
    task = options.task or _task_in(path)
    if task is None:
        raise ConfigError(Problem("TASK", None, "is missing", f"Name one of: {', '.join(tasks.names())}."))
    spec = tasks.spec(task)
    given = [(name, full_name(spec, value) if name == "base-model" else value) for name, value in given]
    if path is None:
        path = space_path(spec, options.space or _space_for(spec, dict(given)))
        _refuse_base_of_another_space(spec, dict(given), path)
    config = load_config(
        path, given, {"task": task}, extra_hyperparameters=set(spec.hyperparameters), extra_bands=set(spec.bands)
    )
    if config.task != task:
        cure = f"Use: tuner tune {config.task} ..., or another --config."
        raise ConfigError(Problem("TASK", task, f"{path.name} is a config of the task {config.task}", cure))
    configured(spec.judged_by, config)
    return config.model_copy(update={"base_model": full_name(spec, config.base_model)})


def full_name(spec: TaskSpec, base_model: str) -> str:
    """What a task's short name for a base stands for; a folder of that name goes before it."""
    return base_model if Path(base_model).is_dir() else spec.bases.get(base_model, base_model)


def space_path(spec: TaskSpec, name: str) -> Path:
    """The file of a search space that comes along. Raises ConfigError for an unknown name."""
    there = {path.stem: path for path in sorted((SPACES / spec.name).glob("*.yaml"))}
    if name not in there:
        cure = f"Use one of: {', '.join(there)}." if there else "Give your own with --config."
        raise ConfigError(Problem("--space", name, f"{spec.name} has no such search space", cure))
    return there[name]


def _space_for(spec: TaskSpec, given: Mapping[str, str]) -> str:
    """A mode brings its space, and a known base the space that was written for it: its layers have other names than the
    default base's. An unknown mode is refused where the space is checked."""
    mode, base = given.get("mode", ""), given.get("base-model")
    if spec.modes.get(mode, spec.default_space) != spec.default_space:
        return spec.modes[mode]
    names = [short for short, long in spec.bases.items() if base in (short, long)]
    written = {path.stem for path in (SPACES / spec.name).glob("*.yaml")}
    return names[0] if names and names[0] in written else spec.default_space


def _refuse_base_of_another_space(spec: TaskSpec, given: Mapping[str, str], path: Path) -> None:
    """A base that has a space of its own, with a mode whose space is made for another: its rates and steps would not be
    this base's. Raises ConfigError."""
    short = {long: name for name, long in spec.bases.items()}.get(given.get("base-model", ""))
    if given.get("mode") in spec.modes and short not in (None, spec.default_space, path.stem):
        made_for = spec.bases[spec.default_space]
        rule = f"the search space of --mode {given['mode']}, {path.name}, is made for {made_for}"
        cure = f"Copy {path.name}, put in this base with what {short}.yaml says of it, and name it with --config."
        raise ConfigError(Problem("--base-model", given["base-model"], rule, cure))


def _saved_config(given: dict[str, str], study: str) -> Path:
    results = Path(given.get("results", "results"))
    if study in ("", ".", "..") or Path(study).name != study:
        raise StudyError(f"--resume = {study!r}: a study's name is that of one folder in {results}, with no slash.")
    path = results / study / "config.yaml"
    if not path.is_file():
        raise StudyError(
            f"--resume = {study!r}: there is no such study in {results}. `tuner status --list` shows those there are."
        )
    return path


def _task_in(path: Path | None) -> str | None:
    """The task that a config names; None if there is no saying, in which case loading it reports why."""
    if path is None:
        return None
    try:
        task = parse_yaml(path.read_text(encoding="utf-8-sig"), path.name).get("task")
    except (OSError, ValueError, ConfigError):
        load_config(path)
        return None
    return task if isinstance(task, str) else None


def _own_hyperparameters() -> dict[str, list[str]]:
    """Dashed names of hyperparameters that only some tasks have, with those tasks."""
    own: dict[str, list[str]] = {}
    for task in tasks.names():
        for name in tasks.spec(task).hyperparameters:
            if name.replace("_", "-") not in OVERRIDES:
                own.setdefault(name.replace("_", "-"), []).append(task)
    return own


def _plain(sentence: str) -> str:
    """A sentence as the help of an option: no capital, no full stop."""
    return sentence[:1].lower() + sentence[1:].rstrip(".")


def _dest(name: str) -> str:
    return "override_" + name.replace("-", "_")
