"""The `tuner` command: finds the verb, runs it, and turns errors into a sentence and an exit code.

Each verb is a module with `add_arguments(parser)` and `execute(options) -> int`, imported only when it is asked for, so
that `tuner --help` answers at once. Knows nothing of studies. Exit codes: 0 done, 1 failed, 2 wrong input, 130 Ctrl-C.
"""

from __future__ import annotations

import argparse
import importlib
import io
import os
import shlex
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import NamedTuple

from tuner.errors import TunerError


class Verb(NamedTuple):
    """One verb: its line in the help, and the module that holds it."""

    help: str
    module: str


VERBS = {
    "tune": Verb("search for the best adapter of a task", "tuner.cli.tune"),
    "run": Verb("tune, infer, analyse, report, alerts and advice in one go", "tuner.cli.run"),
    "status": Verb("show a running or finished study", "tuner.cli.status"),
    "monitor": Verb("follow a running study from another terminal", "tuner.cli.monitor"),
    "report": Verb("write a study's report: page, numbers, pictures", "tuner.cli.report"),
    "compare": Verb("compare the rounds of a series, or studies by base model", "tuner.cli.compare"),
    "advise": Verb("advise on a study's next round, and write its config", "tuner.cli.advise"),
    "predict": Verb("answer with the best adapter of a study", "tuner.cli.predict"),
    "promote": Verb("publish a study's best adapter in the registry", "tuner.cli.promote"),
    "registry": Verb("list, show, point, roll back, delete or audit what was promoted", "tuner.cli.registry"),
    "logs": Verb("explain training logs, this tuner's or others'", "tuner.cli.logs"),
    "plan": Verb("say what a study will take, from a measured step", "tuner.cli.plan"),
    "serve": Verb("serve promoted adapters over HTTP", "tuner.cli.serve"),
    "keys": Verb("make, list and revoke the servers' API keys", "tuner.cli.keys"),
    "doctor": Verb("check this machine and say what would cure it", "tuner.cli.doctor"),
    "init": Verb("write a commented config for your own data", "tuner.cli.init_arguments"),
}


def verb_module(verb: str) -> ModuleType:
    """The module of a verb, imported now. The verb must be a key of `VERBS`."""
    return importlib.import_module(VERBS[verb].module)


def make_parser() -> argparse.ArgumentParser:
    """The parser in front of the verbs: it knows their names and leaves their options alone."""
    width = max(map(len, VERBS))
    listing = "\n".join(f"  {name:<{width}}  {entry.help}" for name, entry in VERBS.items())
    parser = argparse.ArgumentParser(
        prog="tuner",
        usage="tuner [--debug] VERB ...",
        description="A distributed hyperparameter tuner for LoRA adapters.",
        epilog=f"verbs:\n{listing}\n\n`tuner VERB --help` lists the options of a verb.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    _add_debug(parser)
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    parser.add_argument("verb", nargs="?", help=argparse.SUPPRESS)
    parser.add_argument("rest", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    return parser


def verb_parser(verb: str) -> argparse.ArgumentParser:
    """The parser of one verb, with all its options. Imports the verb's module."""
    module = verb_module(verb)
    parser = argparse.ArgumentParser(
        prog=f"tuner {verb}",
        description=(module.__doc__ or "").partition("\n\n")[0],
        allow_abbrev=False,
    )
    module.add_arguments(parser)
    _add_debug(parser)
    return parser


def _add_debug(parser: argparse.ArgumentParser) -> None:
    # No default of its own: `tuner --debug tune` and `tuner tune --debug` must mean the same.
    parser.add_argument(
        "--debug", action="store_true", default=argparse.SUPPRESS, help="show the full traceback of an error"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code. `arguments` None means those of this process."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and not stream.encoding.lower().startswith("utf"):
            stream.reconfigure(errors="replace")  # a letter that the terminal lacks is no reason to fail
    try:
        code = _dispatch(arguments)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        if "--debug" in arguments:
            raise
        print("Stopped.", file=sys.stderr)
        return 130
    except TunerError as error:
        if "--debug" in arguments:
            raise
        print(f"tuner: {error}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:
        # `tuner status | head` closes early. What is still buffered has nowhere to go, so stdout is pointed at
        # nothing before the interpreter flushes it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if "--debug" in arguments:
            raise
        print(
            f"tuner: an unexpected error, {type(error).__name__}: {error}\n"
            "This is a fault of the program. Run it again with --debug for the traceback.",
            file=sys.stderr,
        )
        return 1


def _dispatch(arguments: list[str]) -> int:
    parser = make_parser()
    options = parser.parse_args(arguments)
    if options.version:
        from importlib.metadata import PackageNotFoundError, version

        try:
            print(f"tuner {version('lora-tuner')}")
        except PackageNotFoundError:  # run from a checkout that was never installed, as a cluster job is
            print("tuner, from a checkout")
        return 0
    if options.verb is None:
        parser.print_help()
        return 0
    if options.verb not in VERBS:
        from difflib import get_close_matches

        near = get_close_matches(options.verb, VERBS, 1)
        hint = f"Did you mean {near[0]}?" if near else f"Use one of: {', '.join(VERBS)}."
        parser.error(f"there is no verb {options.verb!r}. {hint}")
    from tuner.device import COMPUTE_ENVIRONMENT

    for name, value in COMPUTE_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    chosen = verb_parser(options.verb).parse_args(options.rest)
    chosen.command = shlex.join(["tuner", options.verb, *options.rest])
    code: int = verb_module(options.verb).execute(chosen)
    return code
