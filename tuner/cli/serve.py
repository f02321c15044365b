"""Serve every promoted adapter over HTTP: sentiment, questions and answers, fashion images.

Knows the settings and how they are given; `serve/` does the work. Ends with Ctrl-C, after the requests under way.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shlex
import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from tuner.cli.find import all_studies
from tuner.cli.terminal import console, say

if TYPE_CHECKING:
    from serve.settings import ServeSettings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `tuner serve`."""
    parser.add_argument("--config", type=Path, metavar="FILE", help="a YAML file of settings; options win over it")
    parser.add_argument("--host", metavar="ADDRESS", help="the address to listen on (127.0.0.1)")
    parser.add_argument("--port", type=int, metavar="N", help="the port to listen on (8000)")
    parser.add_argument("--registry", type=Path, metavar="DIR", help="the registry's folder (results/registry)")
    parser.add_argument("--results", type=Path, metavar="DIR", help="where studies lie (results)")
    parser.add_argument("--keys", type=Path, metavar="FILE", help="the file of API keys (results/keys.json)")
    parser.add_argument("--tasks", metavar="LIST", help="the tasks to serve, with commas between them (all)")
    parser.add_argument(
        "--development", action="store_true", help="ask for no keys; listens on this machine's loopback alone"
    )
    parser.add_argument("--in-process", action="store_true", help="serve without Ray, all tasks in this process")


def execute(options: argparse.Namespace) -> int:
    """Serve until Ctrl-C. Raises ConfigError, StoreError, BaseModelError, DeviceError, StudyError."""
    from serve.door import listening_at
    from serve.keys import KeyRing
    from serve.loopback import refuse_unless_loopback

    settings = _settings(options)
    if settings.development:
        refuse_unless_loopback(settings.host)
    else:
        KeyRing(settings.keys)  # refuses what no server could start with, before Ray takes its seconds
    listening_at(settings.host, settings.port).close()  # before anything is loaded
    out = console()
    _say_what_is_promoted(out, settings)
    if options.in_process:
        asyncio.run(_in_process(settings, out))
        return 0
    return _on_ray(settings, out)


def _settings(options: argparse.Namespace) -> ServeSettings:
    from serve.settings import read_settings, settings_from

    data: dict[str, Any] = read_settings(options.config) if options.config is not None else {}
    for name in ("host", "port", "registry", "results", "keys"):
        if getattr(options, name) is not None:
            data[name] = getattr(options, name)
    if options.development:
        data["development"] = True
    if options.tasks is not None:
        given = data.get("tasks")
        given = given if isinstance(given, dict) else {}
        data["tasks"] = {name.strip(): given.get(name.strip(), {}) for name in options.tasks.split(",") if name.strip()}
    settings = settings_from(data)
    # replicas run in other folders
    places = {name: getattr(settings, name).expanduser().absolute() for name in ("registry", "results", "keys", "log")}
    return settings.model_copy(update=places)


def _say_what_is_promoted(out: Console, settings: ServeSettings) -> None:
    """What will be served, and of tasks with nothing promoted which adapter could be."""
    from tuner.registry import Registry

    state = Registry(settings.registry).state()
    for task in settings.tasks:
        names = sorted(name.name for name in state.adapters if name.task == task)
        if names:
            more = f" and {len(names) - 5} more" if len(names) > 5 else ""
            say(out, f"{task}: {', '.join(names[:5])}{more}")
            continue
        say(out, Text.assemble((f"{task}: ", "yellow"), "nothing is promoted yet. ", _offer(settings.results, task)))


def _offer(results: Path, task: str) -> str:
    won = [(folder, record) for folder, record in all_studies(results) if record.task == task and record.winner]
    if not won:
        return f"No study has a winner either: tuner tune {task}"
    name = won[0][1].name
    score = won[0][1].winner.score if won[0][1].winner else 0.0
    where = "" if results == Path("results").absolute() else f" --results {shlex.quote(str(results))}"
    return f"The best of {name} scored {score:.3f}: tuner promote {name} --as {task}/NAME{where} (it is seen at once)"


def _say_ready(out: Console, settings: ServeSettings) -> None:
    at = f"http://{settings.host}:{settings.port}"
    mode = " in development mode: no keys, this machine alone" if settings.development else ""
    say(out, Text.assemble(("Serving ", "bold green"), f"at {at}{mode}. Ctrl-C ends it."))
    for task in settings.tasks:
        say(out, f"  {at}/{task.replace('_', '-')}/openapi.json")
    say(out, f"  log: {settings.log}")
    say(out, f"  {at}/readyz  {at}/metrics  {at}/admin/adapters")


async def _in_process(settings: ServeSettings, out: Console) -> None:
    from serve.local import serve_here
    from serve.logs import log_to

    log_to(settings.log)
    ready = asyncio.Event()
    serving = asyncio.create_task(serve_here(settings, ready))
    waiting = asyncio.create_task(ready.wait())
    await asyncio.wait({serving, waiting}, return_when=asyncio.FIRST_COMPLETED)
    if ready.is_set():
        _say_ready(out, settings)
    waiting.cancel()
    await serving


def _on_ray(settings: ServeSettings, out: Console) -> int:
    from cluster.connect import connected
    from serve.proxy import proxy_environment, remove_files

    environment = {} if os.environ.get("RAY_ADDRESS") else proxy_environment()
    for name, value in environment.items():
        os.environ.setdefault(name, value)
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))  # while it comes up, as Ctrl-C
    try:
        with connected():
            _serve(settings, out, stopped)
    finally:
        remove_files(environment)
    return 0


def _serve(settings: ServeSettings, out: Console, stopped: threading.Event) -> None:
    from serve.deploy import deploy, shut_down

    deploy(settings)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    _say_ready(out, settings)
    stopped.wait()
    say(out, "Ending: requests under way are answered first.")
    shut_down()
