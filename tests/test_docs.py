"""The README tells the truth: every verb, option, target, config key and file is in it, and its commands work."""

from __future__ import annotations

import importlib
import re
import shlex
import typing
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

from serve import gateway
from serve.service import STATE_RULES, prefix
from serve.settings import ServeSettings, TaskSettings, settings_from
from tests.readme import README, ROOT, options_of, with_parts
from tuner import tasks
from tuner.cli.main import VERBS, verb_parser
from tuner.config import StudyConfig
from tuner.config_file import parse_yaml
from tuner.config_rules import COMMON_HYPERPARAMETERS, REQUIRED_HYPERPARAMETERS

TEXT = README.read_text(encoding="utf-8")


def code_blocks() -> list[tuple[str, str]]:
    """(language, content) of every fenced block."""
    return re.findall(r"^```(\w*)\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)


def typed_commands() -> list[str]:
    """Every command line in the README's shell blocks."""
    lines = [line for language, block in code_blocks() if language == "sh" for line in block.splitlines()]
    return [line for line in lines if line.strip()]


def tuner_commands() -> list[list[str]]:
    """The arguments of every `tuner` and `python -m tuner` command in the README, also of those inside a job."""
    starts = (["tuner"], ["python", "-m", "tuner"])
    return [
        words[place + len(start) :]
        for words in (shlex.split(line, comments=True) for line in typed_commands())
        for start in starts
        for place in range(len(words))
        if words[place : place + len(start)] == start and (place == 0 or words[place - 1] == "--")
    ]


def keys_of(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Dotted names of every key of a config model; of a group that is always there, only those of its parts."""
    for name, field in model.model_fields.items():
        kinds = (field.annotation, *typing.get_args(field.annotation)) if not _is_dict(field.annotation) else ()
        groups = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]
        if field.annotation not in groups:
            yield prefix + name
        for group in groups:
            yield from keys_of(group, f"{prefix}{name}.")


def _is_dict(annotation: object) -> bool:
    return typing.get_origin(annotation) is dict


def test_generated_parts_are_up_to_date() -> None:
    assert with_parts(TEXT) == TEXT, "run: python -m tests.readme"


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_and_option_is_there(verb: str) -> None:
    section = TEXT.partition(f"### `tuner {verb}")[2].partition("\n#")[0]
    assert section
    missing = [
        option
        for action in options_of(verb_parser(verb))
        for option in action.option_strings
        if f"`{option}" not in section
    ]
    assert missing == []


def test_every_target_is_there() -> None:
    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert phony is not None
    assert [name for name in phony[1].split() if f"`make {name}`" not in TEXT] == []


def test_every_config_key_is_there() -> None:
    table = TEXT.partition("## Config")[2].partition("\n## ")[0]
    keys = [*keys_of(StudyConfig)]
    assert "search.asha.grace_epochs" in keys, "the reader of keys goes all the way down"
    assert [key for key in keys if f"`{key}`" not in table] == []
    first_cells = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    named = set(re.findall(r"`([\w.]+)`", " ".join(first_cells)))
    assert named - set(keys) == set(), "keys that there are not"
    names = [*REQUIRED_HYPERPARAMETERS, *COMMON_HYPERPARAMETERS]
    assert [name for name in names if f"`{name}`" not in table] == []


def test_every_setting_of_a_server_is_there_with_its_default() -> None:
    table = TEXT.partition("### Settings")[2].partition("\n### ")[0]
    fields = {**ServeSettings.model_fields}
    fields.update({f"tasks.TASK.{name}": field for name, field in TaskSettings.model_fields.items()})
    for name, field in fields.items():
        default = field.get_default()
        value = "" if default is None else f"`{str(default).lower() if isinstance(default, bool) else default}`"
        shown = "" if field.default_factory is not None else value
        assert f"| `{name}` | {shown} | {field.description} |" in table
    assert len(re.findall(r"^\| `", table, re.MULTILINE)) == len(fields), "settings that there are not"


def test_every_route_is_there() -> None:
    table = TEXT.partition("### Keys")[2].partition("\n### ")[0]
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table.splitlines() if line[:2] == "| "]
    known = {(rule.method, rule.path, rule.scope) for rule in gateway.RULES}
    for task in tasks.names():
        rules = importlib.import_module(f"serve.{tasks.spec(task).speaks}").RULES
        known |= {(rule.method, f"/{prefix(task)}{rule.path}", rule.scope) for rule in rules}
        # what every task has stands there for one of them
        known |= {(rule.method, f"/sentiment{rule.path}", rule.scope) for rule in STATE_RULES}
    for method, path, scope in known:
        shown = ".../v1/models/{model}" if path.endswith("/v1/models/{model:path}") else path
        assert any(row[0] == method and row[2] == scope and f"`{shown}`" in row[1] for row in rows), (method, path)


def test_commands_can_be_typed_as_they_stand() -> None:
    commands = tuner_commands()
    assert {command[0] for command in commands} >= {"tune", "status", "predict", "init"}
    for command in commands:
        assert verb_parser(command[0]).parse_args(command[1:])


def test_make_targets_in_examples_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    named = re.findall(r"\bmake ([a-z-]+)", "\n".join([*typed_commands(), *re.findall(r"`make [a-z-]+", TEXT)]))
    assert named
    assert [name for name in named if not re.search(rf"^{name}:", makefile, re.MULTILINE)] == []


def test_search_spaces_in_examples_exist() -> None:
    paths = set(re.findall(r"search_spaces/[\w/]+\.yaml", TEXT))
    assert paths
    assert [path for path in paths if not (ROOT / path).is_file()] == []


def test_yaml_in_examples_is_a_valid_part_of_a_config() -> None:
    """A block holds keys of a config, or else entries of a space."""
    blocks = [block for language, block in code_blocks() if language == "yaml"]
    assert blocks
    schedules = {"type": "choice", "values": ["constant", "linear", "cosine"]}
    for block in blocks:
        found = parse_yaml(block, "README")
        if "tasks" in found:
            assert settings_from(found)
            continue
        keys = {key: value for key, value in found.items() if key in StudyConfig.model_fields}
        entries = {key: value for key, value in found.items() if key not in keys}
        space = {"rank": 8, "learning_rate": 1e-3, "epochs": 1, "schedule": schedules, **entries}
        assert StudyConfig.model_validate({"task": "sentiment", "base_model": "minilm", "space": space, **keys})


def test_every_file_says_what_it_is_for() -> None:
    bare = [
        str(path.relative_to(ROOT))
        for top in ("tuner", "serve", "cluster", "tests")
        for path in (ROOT / top).rglob("*.py")
        if path.name != "__init__.py" and not path.read_text(encoding="utf-8").lstrip().startswith('"""')
    ]
    assert bare == []


def test_packages_and_constraints_are_complete() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    listed = set(project["tool"]["setuptools"]["packages"])
    there = {
        ".".join(path.parent.relative_to(ROOT).parts) for top in ("tuner", "serve", "cluster") for path in _inits(top)
    }
    assert there - listed == set(), "packages that pip would not install"
    assert listed - there == {"search_spaces"}
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8").lower().replace("_", "-")
    wanted = [*project["project"]["dependencies"], *project["project"]["optional-dependencies"]["dev"]]
    names = [re.split(r"[\[<>=!~ ;]", line)[0].lower() for line in wanted]
    assert [name for name in names if not re.search(rf"^{re.escape(name)}==", pins, re.MULTILINE)] == []
    lines = [line for line in pins.splitlines() if line and not line.startswith("#")]
    assert [line for line in lines if not re.fullmatch(r"[a-z0-9.-]+==[a-z0-9.]+", line)] == [], (
        "names and versions only"
    )


def _inits(top: str) -> Iterator[Path]:
    return (ROOT / top).rglob("__init__.py")
