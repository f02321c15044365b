"""Writes the parts of the README that repeat what the code says: commands, make targets, the tree.

`python -m tests.readme` rewrites them in place; tests/test_docs.py holds the README to what this module would write.
"""

from __future__ import annotations

import argparse
import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from tuner.cli.main import VERBS, verb_parser

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
TREE_TOPS = ("search_spaces", "cluster", "tuner", "serve")


def commands() -> str:
    """A table of options for every verb, from the parsers themselves."""
    return "\n\n".join(_verb(verb) for verb in VERBS)


def options_of(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    """What a verb understands, but for what all verbs do: words first, then options."""
    known = [action for action in parser._actions if action.dest not in ("help", "debug")]
    return sorted(known, key=lambda action: bool(action.option_strings))


def _verb(verb: str) -> str:
    parser = verb_parser(verb)
    actions = options_of(parser)
    words = [_usage(action) for action in actions if not action.option_strings]
    lines = [
        f"### `{' '.join(['tuner', verb, *words])}`",
        "",
        " ".join((parser.description or "").split()),
        "",
        "| option | meaning |",
        "| --- | --- |",
    ]
    for action in actions:
        name = " ".join([*action.option_strings, *([_metavar(action)] if action.nargs != 0 else [])])
        cell = name.replace("|", "\\|")
        lines.append(f"| `{cell}` | {(action.help or '').rstrip('.')} |")
    return "\n".join(lines)


def _usage(action: argparse.Action) -> str:
    return f"[{_metavar(action)}]" if action.nargs == "?" else _metavar(action)


def _metavar(action: argparse.Action) -> str:
    return str(action.metavar or action.dest.upper())


def targets() -> str:
    """A table of the Makefile's targets."""
    rows = re.findall(r"^([a-z-]+):.*## (.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    return "\n".join(
        ["| target | what it does |", "| --- | --- |", *(f"| `make {name}` | {line} |" for name, line in rows)]
    )


def tree() -> str:
    """Every Python file and search space, with its purpose."""
    lines: list[str] = []
    for top in TREE_TOPS:
        if (ROOT / top).is_dir():
            lines += _folder(ROOT / top, 0)
    width = max(len(name) for name, _ in map(_halves, lines)) + 2
    return "\n".join(["```", *(f"{name:<{width}}{purpose}".rstrip() for name, purpose in map(_halves, lines)), "```"])


def _halves(line: str) -> tuple[str, str]:
    name, _, purpose = line.partition("\t")
    return name, purpose


def _folder(folder: Path, depth: int) -> Iterator[str]:
    init = folder / "__init__.py"
    yield f"{'  ' * depth}{folder.name}/\t{purpose_of(init) if init.is_file() else ''}"
    for path in sorted(folder.iterdir(), key=lambda path: (path.is_dir(), path.name)):
        if path.is_dir() and any(file.suffix in (".py", ".yaml") for file in path.rglob("*")):
            yield from _folder(path, depth + 1)
        elif path.suffix in (".py", ".yaml") and path != init:
            yield f"{'  ' * (depth + 1)}{path.name}\t{purpose_of(path)}"


def purpose_of(path: Path) -> str:
    """A Python file's first sentence, up to a colon where one makes it short; a YAML file's first comment likewise."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        text = ast.get_docstring(ast.parse(text)) or ""
    else:
        text = re.match(r"#\s*(.*)", text).group(1) if text.startswith("#") else ""  # type: ignore[union-attr]
    sentence = re.split(r"(?<=[.!?])(?<!al\.)\s|\n\n", text, maxsplit=1)[0]
    sentence = " ".join(sentence.split()).rstrip(".")
    head = sentence.partition(": ")[0]
    return head if len(head) >= 25 else sentence


PARTS: dict[str, Callable[[], str]] = {"commands": commands, "targets": targets, "tree": tree}


def with_parts(text: str) -> str:
    """A README's text with its generated parts as they should be."""
    for name, write in PARTS.items():
        pattern = re.compile(rf"(<!-- {name}: [^>]*-->\n).*?(<!-- end -->)", re.DOTALL)
        assert pattern.search(text), f"the README has no part called {name}"
        part = write()
        text = pattern.sub(lambda found, part=part: f"{found[1]}\n{part}\n\n{found[2]}", text)
    return text


if __name__ == "__main__":
    README.write_text(with_parts(README.read_text(encoding="utf-8")), encoding="utf-8")
