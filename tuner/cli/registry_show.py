"""What `tuner registry` shows: the adapters, one of them, the files of a version, who changed what."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from rich.markup import escape
from rich.table import Table

from serve.audit import FILE, verify
from tuner.cli.terminal import console, say
from tuner.errors import StoreError
from tuner.registry import Adapter, AdapterName, Alias, Entry, Reference, Registry, RegistryState
from tuner.registry.state_json import state_to_json, target_to_json

SHOWN = 10
"""Changes of an alias that `show` lists; --json has all that are kept."""


def show_list(registry: Registry, options: argparse.Namespace) -> None:
    """Every adapter with its aliases. Raises StoreError."""
    state = registry.state()
    if options.json:
        print(json.dumps([_adapter_json(state, adapter) for adapter in state.adapters.values()], indent=1))
        return
    out = console()
    if not state.adapters:
        say(out, f"Nothing is promoted in {options.registry} yet.")
        say(out, "Next: tuner promote STUDY --as TASK/NAME; `tuner status --list` shows the studies there are.")
        return
    table = _table("adapter", "alias", "points to", "since", "by", "versions")
    for name, adapter in sorted(state.adapters.items()):
        count = str(len(adapter.versions))
        for alias in adapter.aliases.values():
            table.add_row(str(name), alias.alias, str(alias.target), _time(alias.changed), alias.by, count)
        if not adapter.aliases:
            table.add_row(str(name), "-", "-", "-", "-", count)
    out.print(table)


def show(registry: Registry, options: argparse.Namespace) -> None:
    """One adapter, or the versions behind one of its names. Raises ConfigError for what is not there, StoreError."""
    text = options.words[0]
    task, _, rest = text.partition("/")
    reference = Reference.parse(rest)
    name, state = AdapterName(task, reference.name), registry.state()
    if "@" in rest:
        found = state.find(task, reference)
        versions = sorted(found.target.versions) if isinstance(found, Alias) else [found.version]
        _show_versions(registry, [state.adapter(name).entry(version) for version in versions], options)
        return
    adapter = state.adapter(name)
    if options.json:
        print(json.dumps(_adapter_json(state, adapter), indent=1))
        return
    out = console()
    table = _table("version", "promoted", "by", "base model", "score", "study", "trial", "used by")
    for entry in adapter.versions.values():
        used = ", ".join(adapter.users_of(entry.version)) or "-"
        table.add_row(entry.version, _time(entry.created), entry.by, *_origin(registry, entry), used)
    out.print(table)
    for alias, changes in adapter.history.items():
        out.print()
        current = adapter.alias(alias)
        say(out, f"{name}@{alias}: {current.target if current else 'removed'}")
        history = _table("change", "when", "pointed to", "by", "why")
        for change in reversed(changes[-SHOWN:]):
            back = f" (back to change {change.back_to})" if change.back_to else ""
            target = str(change.target) if change.target else "nothing: removed"
            history.add_row(str(change.number), _time(change.when), target + back, change.by, change.why)
        out.print(history)


def _show_versions(registry: Registry, entries: Sequence[Entry], options: argparse.Namespace) -> None:
    """The manifests of versions, and whether their files are whole. Raises StoreError if they are not."""
    shown: list[dict[str, Any]] = []
    for entry in entries:
        registry.verify(entry)
        manifest = registry.version(entry.name, entry.version).manifest
        about = {"version": str(entry), "sha256": entry.digest, "folder": str(registry.folder(entry))}
        shown.append({**about, **json.loads(manifest.to_bytes())})
    if options.json:
        print(json.dumps(shown, indent=1))
        return
    out = console()
    for each in shown:
        table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
        for key, value in each.items():
            if key == "files":
                value = "\n".join(f"{file['sha256'][:12]}  {file['size']:>12,}  {file['path']}" for file in value)
            elif isinstance(value, dict):
                value = "\n".join(f"{name} = {part}" for name, part in value.items())
            table.add_row(key.replace("_", " "), "-" if value in (None, "") else str(value))
        out.print(table)
        say(out, "Every file is as it was promoted.")


def show_audit(registry: Registry, options: argparse.Namespace) -> None:
    """Who changed the registry, newest last. Raises StoreError, with the first broken line, after the unbroken ones."""
    path = registry.path / FILE
    out = console()
    if not path.exists() and registry.state().generation == 0:
        say(out, f"Nothing was changed in {registry.path} yet.")
        return
    verdict = verify(path)
    if options.json:
        for entry in verdict.entries:
            print(entry.model_dump_json())
    else:
        table = _table("when", "who", "action", "on", "outcome", "request")
        for entry in verdict.entries:
            when = _time(datetime.fromisoformat(entry.time).timestamp())
            outcome = " ".join(entry.outcome.split())
            table.add_row(when, *map(escape, (entry.who, entry.action, entry.target, outcome, entry.request_id or "-")))
        out.print(table)
    if verdict.broken is not None:
        raise StoreError(
            f"{path} is broken: line {verdict.broken} {verdict.reason}. What stands before it is whole; from there on "
            "nothing is certain."
        )
    if not options.json:
        count = len(verdict.entries)
        say(out, f"The chain of {count} entr{'ies' if count != 1 else 'y'} is whole.")


def _origin(registry: Registry, entry: Entry) -> tuple[str, str, str, str]:
    """Base model, score, study and trial of a version; of a damaged one that it is."""
    try:
        origin = registry.version(entry.name, entry.version).manifest.origin
    except StoreError:
        return "damaged: promote it again", "-", "-", "-"
    score = origin.metrics.get("score")
    return origin.base_model, "-" if score is None else f"{score:.4f}", origin.study or "-", origin.trial or "-"


def _adapter_json(state: RegistryState, adapter: Adapter) -> dict[str, Any]:
    stored = state_to_json(state)["adapters"][str(adapter.name)]
    aliases = {
        name: {"target": target_to_json(alias.target), "changed": alias.changed, "by": alias.by, "why": alias.why}
        for name, alias in adapter.aliases.items()
    }
    return {"name": str(adapter.name), "versions": stored["versions"], "aliases": aliases, "history": stored["aliases"]}


def _table(*headings: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for heading in headings:
        table.add_column(heading, overflow="fold", justify="right" if heading in ("versions", "score") else "left")
    return table


def _time(when: float) -> str:
    return datetime.fromtimestamp(when).strftime("%Y-%m-%d %H:%M")
