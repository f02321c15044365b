"""List, show, point, roll back or delete what was promoted, or list who changed it. A change is one step, which running
servers follow without a restart.

What is changed is tuner.registry's; every change is written to the audit log, refused ones too. What is shown is
`tuner/cli/registry_show.py`'s.
"""

from __future__ import annotations

import argparse
import getpass
import os
import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from serve.audit import FILE, AuditLog, Note
from tuner.cli.registry_show import show, show_audit, show_list
from tuner.cli.terminal import console, say
from tuner.errors import ConfigError, Problem
from tuner.registry import AdapterName, Limits, Registry, RegistryState
from tuner.registry.names import is_version

DEFAULT = Path("results/registry")
_LIMITS = ("max_errors", "max_latency_ms", "max_latency_ratio")
_OF_ALIAS = (*_LIMITS, "over", "shadow")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `tuner registry`."""
    parser.add_argument("action", choices=tuple(ACTIONS), metavar="ACTION", help=f"one of {', '.join(ACTIONS)}")
    parser.add_argument(
        "words",
        nargs="*",
        metavar="WORD",
        help="what it takes: " + "; ".join(f"{name} {usage}" for name, (usage, _) in ACTIONS.items() if usage),
    )
    parser.add_argument("--shadow", metavar="VERSION", help="alias: a version that is asked too and does not answer")
    parser.add_argument(
        "--max-errors", type=float, metavar="SHARE", help="alias: go back if more of a version's requests fail, 0 to 1"
    )
    parser.add_argument(
        "--max-latency-ms", type=float, metavar="MS", help="alias: go back if a version takes longer, in the mean"
    )
    parser.add_argument(
        "--max-latency-ratio",
        type=float,
        metavar="TIMES",
        help="alias: go back if a version takes so many times as long as the other",
    )
    parser.add_argument(
        "--over", type=int, metavar="N", help=f"alias: over how many requests limits look ({Limits.requests})"
    )
    parser.add_argument("--why", default="", metavar="TEXT", help="a line for the alias's history")
    parser.add_argument(
        "--registry", type=Path, default=DEFAULT, metavar="DIR", help=f"where the registry lies ({DEFAULT})"
    )
    parser.add_argument("--json", action="store_true", help="list, show, audit: print JSON, for programs")


def execute(options: argparse.Namespace) -> int:
    """Do it. Raises ConfigError for what is not there or cannot be, StoreError for a registry or an audit log that is
    damaged."""
    if problems := list(_misplaced(options)):
        raise ConfigError(problems)
    _, action = ACTIONS[options.action]
    action(Registry(options.registry), options)
    return 0


def audited(registry: Path, action: str, target: str) -> AbstractContextManager[Note]:
    """What is done within, written to the registry's audit log with how it ended. Raises StoreError."""
    return AuditLog(registry / FILE).noted(user(), action, target)


def user() -> str:
    """Who makes a change on the command line."""
    try:
        return f"cli:{getpass.getuser()}"
    except (KeyError, OSError):  # a container's user may have no name
        return f"cli:{os.getuid()}"


def command(registry: Path, *words: str) -> str:
    """A `tuner` command to type, for a registry in that folder."""
    return shlex.join(["tuner", *words, *([] if registry == DEFAULT else ["--registry", str(registry)])])


def _misplaced(options: argparse.Namespace) -> Iterator[Problem]:
    """Words that are too few or too many, and options of another action."""
    usage, count = ACTIONS[options.action][0], len(options.words)
    least = len(usage.split())
    if count < least or (count > least and not usage.endswith("...")):
        rule = f"{options.action} takes {usage or 'nothing more'}"
        yield Problem(
            "words", shlex.join(options.words), rule, f"Write: tuner registry {options.action} {usage}".rstrip()
        )
    shown, undone = {"json"}, {"why"}
    allowed = {"list": shown, "show": shown, "audit": shown, "rollback": undone, "delete": undone}
    allowed["alias"] = {*_OF_ALIAS, "why"}
    for name in (*_OF_ALIAS, "why", "json"):
        value = getattr(options, name)
        if value not in (None, "", False) and name not in allowed[options.action]:
            whose = ", ".join(action for action, names in allowed.items() if name in names)
            yield Problem(name, value, f"it is an option of {whose}, not of {options.action}", "Leave it out.")


def _alias(registry: Registry, options: argparse.Namespace) -> None:
    text, alias, *shares = options.words
    shadow = ["shadow", options.shadow] if options.shadow is not None else []
    with audited(options.registry, "alias", f"{text}@{alias} to {' '.join([*shares, *shadow])}"):
        name = AdapterName.parse(text)
        before = _target(registry.state(), name, alias)
        state = registry.set_alias(
            name,
            alias,
            _split(shares),
            shadow=options.shadow,
            limits=_limits(options),
            by=user(),
            why=options.why,
        )
    _say_change(options, state, name, alias, before)


def _limits(options: argparse.Namespace) -> Limits | None:
    given = {limit: getattr(options, limit) for limit in _LIMITS}
    if options.over is None and all(value is None for value in given.values()):
        return None
    return Limits(**given, requests=Limits.requests if options.over is None else options.over)


def _rollback(registry: Registry, options: argparse.Namespace) -> None:
    text, alias = options.words
    with audited(options.registry, "rollback", f"{text}@{alias}"):
        name = AdapterName.parse(text)
        before = _target(registry.state(), name, alias)
        state = registry.rollback(name, alias, by=user(), why=options.why)
    _say_change(options, state, name, alias, before)


def _delete(registry: Registry, options: argparse.Namespace) -> None:
    text, what = options.words
    out = console()
    if is_version(what):
        with audited(options.registry, "delete", f"{text}@{what}"):
            if options.why:
                rule = "a version has no history to keep it in"
                raise ConfigError(Problem("why", options.why, rule, "Leave it out."))
            name = AdapterName.parse(text)
            registry.delete(name, what, by=user())
        say(out, f"Deleted {name}@{what} and its files.")
    else:
        with audited(options.registry, "remove alias", f"{text}@{what}"):
            name = AdapterName.parse(text)
            registry.remove_alias(name, what, by=user(), why=options.why)
        say(out, f"Removed the alias {name}@{what}. To bring it back: {_undo(options, name, what)}")


def _say_change(options: argparse.Namespace, state: RegistryState, name: AdapterName, alias: str, before: str) -> None:
    out, after = console(), _target(state, name, alias)
    if after == before:
        say(out, f"{name}@{alias} points to {after}, as before.")
        return
    say(out, f"{name}@{alias} points to {after}; before: {before}.")
    if options.action == "alias" and len(state.adapter(name).history[alias]) > 1:
        say(out, f"To go back: {_undo(options, name, alias)}")


def _target(state: RegistryState, name: AdapterName, alias: str) -> str:
    adapter = state.adapters.get(name)
    found = adapter.alias(alias) if adapter else None
    return str(found.target) if found else "nothing"


def _undo(options: argparse.Namespace, name: AdapterName, alias: str) -> str:
    return command(options.registry, "registry", "rollback", str(name), alias)


def _split(shares: Sequence[str]) -> dict[str, float]:
    """Weights by version, from VERSION or VERSION=WEIGHT. Raises ConfigError with all that is wrong."""
    split: dict[str, float] = {}
    problems = []
    for share in shares:
        version, sign, weight = share.partition("=")
        if version in split:
            problems.append(Problem("version", version, "it is named twice", "Add the weights."))
        try:
            split[version] = float(weight) if sign else 1.0
        except ValueError:
            split[version] = 0.0
            problems.append(Problem(f"weight of {version}", weight, "a weight is a number", f"Try {version}=1."))
    if problems:
        raise ConfigError(problems)
    return split


ACTIONS: dict[str, tuple[str, Callable[[Registry, argparse.Namespace], None]]] = {
    "list": ("", show_list),
    "show": ("NAME[@ALIAS]", show),
    "alias": ("NAME ALIAS VERSION[=WEIGHT]...", _alias),
    "rollback": ("NAME ALIAS", _rollback),
    "delete": ("NAME VERSION-OR-ALIAS", _delete),
    "audit": ("", show_audit),
}
"""Of each action the words it takes, and what does it."""
