"""Make, list and revoke the API keys of the servers: `tuner keys create ci --scopes infer,read`, `tuner keys list`,
`tuner keys revoke ci`.

A key is printed once, alone on standard output; results/keys.json keeps its hash only. Running servers follow the file.
Who makes or revokes one leaves a line in the audit log of the registry beside it.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from rich.table import Table

from serve.keys import FILE, SCOPES, create_key, read_keys, revoke_key
from tuner.cli.find import add_results
from tuner.cli.registry import DEFAULT, audited
from tuner.cli.terminal import console
from tuner.errors import ConfigError, Problem


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `tuner keys`."""
    parser.add_argument("action", choices=("create", "list", "revoke"), metavar="ACTION", help="create, list or revoke")
    parser.add_argument("name", nargs="?", metavar="NAME", help="whose key to create or revoke: a name, as in ci")
    parser.add_argument(
        "--scopes",
        metavar="LIST",
        help=f"what a new key may do, with commas between: {', '.join(SCOPES)} (infer,read)",
    )
    parser.add_argument("--days", type=int, metavar="N", help="a new key expires after N days (never)")
    parser.add_argument("--rate", type=int, metavar="N", help="requests a minute of a new key (the servers' default)")
    add_results(parser)


def execute(options: argparse.Namespace) -> int:
    """Do what was asked. Raises ConfigError with every mistake, StoreError for a keys file that cannot be used."""
    _check(options)
    path, registry = options.results / FILE, options.results / DEFAULT.name
    if options.action == "list":
        _list(path)
        return 0
    if options.action == "revoke":
        with audited(registry, "revoke key", options.name):
            key = revoke_key(path, options.name, time.time())
        print(f"The key {key.name} is revoked. Running servers refuse it within a second.")
        return 0
    scopes = [word.strip() for word in (options.scopes or "infer,read").split(",") if word.strip()]
    with audited(registry, "create key", f"{options.name} for {', '.join(scopes)}"):
        key, text = create_key(path, options.name, scopes, time.time(), options.days, options.rate)
    # The words go to standard error: KEY=$(tuner keys create ci) is the key and nothing else.
    print(
        f"The key of {key.name}, for {_scopes(key.scopes)}. It is shown this once; {path} keeps its hash:",
        file=sys.stderr,
    )
    print(text)
    return 0


def _check(options: argparse.Namespace) -> None:
    problems = []
    if options.action == "list":
        if options.name is not None:
            problems.append(Problem("NAME", options.name, "list takes no name", "Leave it out."))
    elif options.name is None:
        problems.append(Problem("NAME", None, "is missing", f"As in: tuner keys {options.action} ci"))
    if options.action != "create":
        problems += [
            Problem(f"--{name}", getattr(options, name), "belongs to create", "Leave it out.")
            for name in ("scopes", "days", "rate")
            if getattr(options, name) is not None
        ]
    if problems:
        raise ConfigError(problems)


def _list(path: Path) -> None:
    keys = read_keys(path)
    out = console()
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for heading in ("name", "scopes", "created", "expires", "state"):
        table.add_column(heading)
    table.add_column("requests a minute", justify="right")
    now = time.time()
    for key in keys:
        table.add_row(
            key.name,
            _scopes(key.scopes),
            _day(key.created),
            "never" if key.expires is None else _day(key.expires),
            key.state(now),
            "default" if key.rate is None else f"{key.rate:,}",
        )
    out.print(table)


def _scopes(scopes: frozenset[str]) -> str:
    return ", ".join(scope for scope in SCOPES if scope in scopes)


def _day(moment: float) -> str:
    return time.strftime("%Y-%m-%d", time.localtime(moment))
