"""Imports flow one way, and heavy libraries are imported only where the design says so: read from the code itself."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("tuner", "serve", "cluster")

FOUNDATION = {"tuner.errors", "tuner.device", "tuner.config"}
MIDDLE = {"tuner.data", "tuner.lora", "tuner.score", "tuner.store"}
UPPER = {"tuner.report", "tuner.monitor", "tuner.cli"}
# A layer may import itself and what stands here; parts of one layer may use each other.
ALLOWED: dict[str, set[str]] = {
    "tuner.errors": set(),
    "tuner.device": FOUNDATION,
    "tuner.config": FOUNDATION,
    "tuner.bases": FOUNDATION | MIDDLE,
    **dict.fromkeys(MIDDLE, FOUNDATION | MIDDLE),
    "tuner.tasks": FOUNDATION | MIDDLE | {"tuner.bases"},
    "tuner.engine": FOUNDATION | MIDDLE | {"tuner.bases", "tuner.tasks"},
    "tuner.study": FOUNDATION | MIDDLE | {"tuner.bases", "tuner.tasks", "tuner.engine", "tuner.registry", "cluster"},
    "tuner.registry": FOUNDATION | MIDDLE,
    **{
        part: FOUNDATION
        | MIDDLE
        | UPPER
        | {"tuner.bases", "tuner.tasks", "tuner.engine", "tuner.study", "tuner.registry", "cluster", "serve"}
        for part in UPPER
    },
    "tuner.__main__": {"tuner.cli"},
    "serve": FOUNDATION | MIDDLE | {"tuner.bases", "tuner.tasks", "tuner.registry"},
    "cluster": {"tuner.errors", "tuner.device", "tuner.config"},
}
RAY_HOMES = ("tuner.engine.actor", "tuner.engine.pool", "tuner.study", "cluster", "serve")
TORCH_HOMES = ("tuner.lora", "tuner.tasks", "tuner.engine", "tuner.bases", "serve")
# Parts of those homes that the driver, the thin trial and the command line load before a device is taken.
TORCH_FREE = re.compile(r"tuner\.engine(\.(contract|actor|pool))?|tuner\.tasks(\.task)?|tuner\.tasks\.\w+(\.prepare)?")
# torch, and what imports torch itself.
TORCH_KIN = {"torch", "torchvision", "transformers", "peft", "diffusers", "open_clip", "sentence_transformers"}


class Import(NamedTuple):
    """One import: which module has it, in which line, of what, and whether it runs when the module is imported."""

    module: str
    line: int
    target: str
    at_import: bool


def module_name(path: Path) -> str:
    """tuner/cli/main.py is tuner.cli.main; a package is named without __init__."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def modules() -> list[str]:
    """Every module of the project's packages."""
    return sorted(module_name(path) for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def imports_in(source: str, module: str, package: bool = False) -> Iterator[Import]:
    """Every import statement of a source text, but those under `if TYPE_CHECKING:`, which never run."""

    def walk(node: ast.AST, at_import: bool) -> Iterator[Import]:
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            for child in node.orelse:
                yield from walk(child, at_import)
            return
        if isinstance(node, ast.Import):
            yield from (Import(module, node.lineno, name.name, at_import) for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = module.split(".")[: len(module.split(".")) - node.level + package]
                base = ".".join([*above, *([node.module] if node.module else [])])
            # `from tuner import tasks` names a module, `from tuner.tasks import spec` a thing in one: both are tried.
            yield from (Import(module, node.lineno, f"{base}.{name.name}", at_import) for name in node.names)
        inside = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in ast.iter_child_nodes(node):
            yield from walk(child, at_import and not inside)

    yield from walk(ast.parse(source), True)


def all_imports() -> list[Import]:
    """Every import of the project."""
    found: list[Import] = []
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            found += imports_in(path.read_text(encoding="utf-8"), module_name(path), path.name == "__init__.py")
    return found


def layer_of(name: str) -> str | None:
    """The layer that a dotted name lies in; None for other people's packages."""
    for layer in sorted(ALLOWED, key=len, reverse=True):
        # config is one layer in several files: config.py, config_file.py...
        if name == layer or name.startswith((layer + ".", layer + "_")):
            return layer
    return None


def lies_in(name: str, homes: tuple[str, ...]) -> bool:
    """Whether a module is one of the homes or inside one. A home also covers its split-off files: trainer_*.py."""
    return any(name == home or name.startswith((home + ".", home + "_")) for home in homes)


def may_import_torch(module: str) -> bool:
    """Whether a module may import torch, or what imports it, when it is itself imported."""
    return lies_in(module, TORCH_HOMES) and not TORCH_FREE.fullmatch(module)


def test_every_module_belongs_to_a_layer() -> None:
    packages = {"tuner"}
    assert [name for name in modules() if name not in packages and layer_of(name) is None] == []


def test_imports_flow_one_way() -> None:
    broken = []
    for found in all_imports():
        source, target = layer_of(found.module), layer_of(found.target)
        if source is not None and target is not None and target != source and target not in ALLOWED[source]:
            broken.append(f"{found.module}:{found.line} imports {found.target}: {source} may not use {target}")
    assert broken == []


def test_ray_stays_at_home() -> None:
    broken = [
        f"{found.module}:{found.line}"
        for found in all_imports()
        if found.target.partition(".")[0] == "ray" and not lies_in(found.module, RAY_HOMES)
    ]
    assert broken == []


def test_torch_is_imported_late_elsewhere() -> None:
    broken = [
        f"{found.module}:{found.line} imports {found.target}"
        for found in all_imports()
        if found.at_import and found.target.partition(".")[0] in TORCH_KIN and not may_import_torch(found.module)
    ]
    assert broken == []


def test_tests_are_never_imported() -> None:
    assert [found for found in all_imports() if found.target.partition(".")[0] == "tests"] == []


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import torch", [("torch", True)]),
        ("def f():\n    import torch", [("torch", False)]),
        ("from . import data", [("tuner.data", True)]),
        ("from .data import load", [("tuner.data.load", True)]),
        ("if TYPE_CHECKING:\n    import torch\nelse:\n    import ray", [("ray", True)]),
        ("try:\n    import ray.tune\nexcept ImportError:\n    pass", [("ray.tune", True)]),
        ("class A:\n    import torch", [("torch", True)]),
    ],
)
def test_the_reader_of_imports(source: str, expected: list[tuple[str, bool]]) -> None:
    assert [(found.target, found.at_import) for found in imports_in(source, "tuner.errors")] == expected


@pytest.mark.slow
def test_importing_every_module_is_quiet() -> None:
    """No module warns, prints, starts a thread or reads the command line when it is imported."""
    light = [
        name for name in modules() if not may_import_torch(name) and not lies_in(name, (*RAY_HOMES, "tuner.__main__"))
    ]
    code = (
        "import importlib, sys, threading\n"
        f"for name in {light!r}: importlib.import_module(name)\n"
        "assert threading.active_count() == 1, threading.enumerate()\n"
        f"heavy = sorted(({{'ray'}} | {TORCH_KIN!r}) & set(sys.modules))\n"
        "assert not heavy, f'imported at once: {heavy}'\n"
    )
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
